//! Stripe's way of listing: newest first, in pages, within a range of creation times. Reading the
//! parameters and cutting the page; the rows come from `store`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{
    error::ApiError,
    form::Form,
    store::Page,
    view::{Answer, page},
};

const LIMIT_DEFAULT: i64 = 10;
const LIMIT_MAX: i64 = 100;
const CREATED_PARAMS: &[&str] =
    &["created", "created[gt]", "created[gte]", "created[lt]", "created[lte]"];

/// An end of a range of times, if it has one.
type Bound = Option<DateTime<Utc>>;

/// The page a list is asked for. Refuses every parameter that is neither of paging nor in `others`.
pub(super) fn listed<'a>(form: &'a Form, others: &[&str]) -> Result<Page<'a>, ApiError> {
    let known: Vec<&str> =
        ["created", "expand", "limit", "starting_after"].iter().chain(others).copied().collect();
    form.only(&known)?;
    let (from, until) = created(form)?;
    Ok(Page { before: form.text("starting_after")?, from, until, rows_max: limit(form)? + 1 })
}

/// How many objects a page may have.
pub(super) fn limit(form: &Form) -> Result<i64, ApiError> {
    match form.integer("limit")? {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => {
            let message = format!("The limit must be from 1 to {LIMIT_MAX}.");
            Err(ApiError::invalid_param("limit", "parameter_invalid_integer", message))
        }
    }
}

/// One row more than asked for was read, to know whether there is more.
pub(super) fn cut_to<T>(rows: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).expect("a limit of at most 100 fits");
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    has_more
}

/// The answer to a list.
pub(super) fn list<'a, T, V: Serialize>(
    url: &str,
    asked: &Page<'_>,
    mut rows: Vec<T>,
    view: impl Fn(&T) -> V + 'a,
) -> Answer {
    let has_more = cut_to(&mut rows, asked.rows_max - 1);
    let data: Vec<_> = rows.iter().map(view).collect();
    Answer::ok(&page("list", url, &data, has_more))
}

/// The half-open range of times. `created` is shown in whole seconds, so the bounds compare with the
/// second in which an object was made.
fn created(form: &Form) -> Result<(Bound, Bound), ApiError> {
    let unknown = form
        .sorted()
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| name.starts_with("created") && !CREATED_PARAMS.contains(name));
    if let Some(name) = unknown {
        let message = format!("Received unknown parameter: {name}");
        return Err(ApiError::invalid_param(name, "parameter_unknown", message));
    }
    let second = TimeDelta::seconds(1);
    let exact = time(form, "created")?;
    let lower = [exact, time(form, "created[gte]")?, next(time(form, "created[gt]")?, second)];
    let upper = [
        next(exact, second),
        time(form, "created[lt]")?,
        next(time(form, "created[lte]")?, second),
    ];
    Ok((lower.into_iter().flatten().max(), upper.into_iter().flatten().min()))
}

fn next(at: Bound, step: TimeDelta) -> Bound {
    at.map(|at| at.checked_add_signed(step).unwrap_or(at))
}

fn time(form: &Form, name: &str) -> Result<Bound, ApiError> {
    let Some(seconds) = form.integer(name)? else {
        return Ok(None);
    };
    // Postgres ends long before chrono does; the year 9999 is enough for both.
    let at =
        DateTime::from_timestamp(seconds, 0).filter(|_| (0..253_402_300_800).contains(&seconds));
    at.map(Some).ok_or_else(|| {
        let message = format!("Invalid timestamp: {seconds}");
        ApiError::invalid_param(name, "parameter_invalid_integer", message)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn range(query: &str) -> Result<(Option<i64>, Option<i64>), ApiError> {
        let form = Form::parse(query.as_bytes()).unwrap();
        let page = listed(&form, &[])?;
        Ok((page.from.map(|at| at.timestamp()), page.until.map(|at| at.timestamp())))
    }

    #[test]
    fn bounds_compare_with_whole_seconds() {
        assert_eq!(range("").unwrap(), (None, None));
        assert_eq!(range("created=7").unwrap(), (Some(7), Some(8)));
        assert_eq!(range("created[gte]=7&created[lt]=9").unwrap(), (Some(7), Some(9)));
        assert_eq!(range("created[gt]=7&created[lte]=9").unwrap(), (Some(8), Some(10)));
        assert_eq!(range("created[gt]=7&created[gte]=2").unwrap(), (Some(8), None));
    }

    #[test]
    fn bounds_that_are_no_times_are_refused() {
        for bad in ["created[gte]=x", "created[gte]=-1", "created[after]=1", "created[]=1"] {
            assert_eq!(range(bad).unwrap_err().status, 400, "{bad}");
        }
        assert!(range(&format!("created[lt]={}", i64::MAX)).is_err());
    }
}
