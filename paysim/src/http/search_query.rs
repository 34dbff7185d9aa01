//! Stripe's search language, as much of it as this network understands. Whatever is not understood is
//! refused, for a search that ignored a term would find too much.

use std::collections::BTreeMap;

const TERMS_MAX: usize = 10;

/// `metadata['key']:'value'`, joined by AND. Both quotes are understood, a backslash escapes.
pub(super) fn parse_query(query: &str) -> Option<BTreeMap<String, String>> {
    let mut terms = BTreeMap::new();
    let mut rest = query.trim();
    loop {
        rest = rest.strip_prefix("metadata[")?;
        let (key, after) = quoted(rest)?;
        rest = after.strip_prefix(']')?.trim_start().strip_prefix(':')?.trim_start();
        let (value, after) = quoted(rest)?;
        // Two different values of one key can match nothing Stripe would call a query either.
        if terms.insert(key, value).is_some() || terms.len() > TERMS_MAX {
            return None;
        }
        if after.trim().is_empty() {
            return Some(terms);
        }
        let and = after.trim_start();
        let joined = and.len() < after.len() && and.get(..3)?.eq_ignore_ascii_case("AND");
        rest = joined.then(|| &and[3..])?.strip_prefix(' ')?.trim_start();
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, char)) = chars.next() {
        match char {
            '\\' => inside.push(chars.next()?.1),
            char if char == quote => return Some((inside, &text[index + 1..])),
            char => inside.push(char),
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_metadata_terms_joined_by_and() {
        let terms = parse_query("metadata['payment_id']:'pay_1'").unwrap();
        assert_eq!(terms["payment_id"], "pay_1");
        let terms = parse_query(r#"metadata["a"]:"it's" AND metadata['b'] : 'x\'y'"#).unwrap();
        assert_eq!((&*terms["a"], &*terms["b"]), ("it's", "x'y"));
    }

    #[test]
    fn what_is_not_understood_is_refused_rather_than_ignored() {
        for bad in [
            "",
            "status:'succeeded'",
            "metadata['a']",
            "metadata['a']:'b",
            "metadata['a']:'b' OR metadata['c']:'d'",
            "metadata['a']:'b' AND",
            "metadata['a']:'b' metadata['c']:'d'",
            "metadata['a']:'b' AND metadata['a']:'c'",
            "-metadata['a']:'b'",
        ] {
            assert_eq!(parse_query(bad), None, "{bad}");
        }
    }
}
