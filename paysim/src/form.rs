//! Form-encoded parameters as Stripe sends them: `amount=5&metadata[order]=7`. Decoding, limits and
//! the refusal of unknown names live here; what a parameter means belongs to `command`.

use std::collections::BTreeMap;

use crate::error::ApiError;

const FIELDS_MAX: usize = 200;
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// The decoded fields of one request, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Strict where a browser is lenient: a broken escape or text that is not UTF-8 is refused, for a
    /// client that sends one has a bug the real network would show it too.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Vec::new();
        for pair in encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err(ApiError::invalid(None, format!("More than {FIELDS_MAX} parameters.")));
            }
            let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let value = pair.get(equals + 1..).unwrap_or_default();
            fields.push((decode(&pair[..equals])?, decode(value)?));
        }
        Ok(Self { fields })
    }

    /// The fields in an order that does not depend on how the client wrote them.
    pub(crate) fn sorted(&self) -> Vec<(&str, &str)> {
        let mut sorted: Vec<(&str, &str)> =
            self.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        sorted.sort_unstable();
        sorted
    }

    /// Refuses every parameter whose name, without its brackets, is not in `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        for (name, _) in &self.fields {
            let base = name.split('[').next().unwrap_or(name);
            if !known.contains(&base) {
                let message = format!("Received unknown parameter: {base}");
                return Err(ApiError::invalid_param(base, "parameter_unknown", message));
            }
        }
        Ok(())
    }

    /// The last value of `name`. An empty value is an attempt to unset, which nothing here allows.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let found =
            self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| &**value);
        if found == Some("") {
            let message = format!(
                "You passed an empty string for '{name}'. We assume empty values are an attempt to unset \
                 a parameter; however '{name}' cannot be unset.",
            );
            return Err(ApiError::invalid_param(name, "parameter_invalid_empty", message));
        }
        Ok(found)
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            ApiError::invalid_param(
                name,
                "parameter_invalid_integer",
                format!("Invalid integer: {text}"),
            )
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                Err(ApiError::invalid(None, format!("Invalid boolean: {other}")).with_param(name))
            }
        }
    }

    /// `metadata[key]=value` pairs within Stripe's limits. An empty value means the key is not set.
    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let mut metadata = BTreeMap::new();
        for (name, value) in &self.fields {
            let Some(rest) = name.strip_prefix("metadata") else {
                continue;
            };
            let key = rest
                .strip_prefix('[')
                .and_then(|key| key.strip_suffix(']'))
                .filter(|key| !key.is_empty() && !key.contains(['[', ']']))
                .ok_or_else(|| {
                    ApiError::invalid(None, "Invalid hash for metadata.").with_param("metadata")
                })?;
            if key.chars().count() > METADATA_KEY_CHARS_MAX
                || value.chars().count() > METADATA_VALUE_CHARS_MAX
            {
                let message = format!(
                    "Metadata keys may have {METADATA_KEY_CHARS_MAX} characters and values \
                     {METADATA_VALUE_CHARS_MAX}; '{key}' is too long.",
                );
                return Err(ApiError::invalid(None, message).with_param("metadata"));
            }
            if !value.is_empty() {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        if metadata.len() > METADATA_KEYS_MAX {
            let message = format!("Metadata may have at most {METADATA_KEYS_MAX} keys.");
            return Err(ApiError::invalid(None, message).with_param("metadata"));
        }
        Ok(metadata)
    }
}

fn decode(encoded: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_pair(rest.next(), rest.next())
                .ok_or_else(|| ApiError::invalid(None, "Invalid request: a % escape is broken."))?,
            plain => plain,
        });
    }
    // Postgres cannot store NUL in text, and no card network accepts it either.
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(_) => Err(ApiError::invalid(
            None,
            "Invalid request: parameters must be UTF-8 text without NUL.",
        )),
    }
}

fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high?)? << 4 | digit(low?)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn form(encoded: &str) -> Form {
        Form::parse(encoded.as_bytes()).expect("a well-formed form")
    }

    #[test]
    fn nested_keys_and_escapes_are_decoded() {
        let form = form("amount=1999&metadata%5Bpayment_id%5D=pay_1&metadata[note]=a+b%26c&&flag");
        assert_eq!(form.integer("amount").unwrap(), Some(1999));
        let metadata = form.metadata().unwrap();
        assert_eq!(metadata["payment_id"], "pay_1");
        assert_eq!(metadata["note"], "a b&c");
        assert_eq!(form.text("flag").unwrap_err().code, Some("parameter_invalid_empty"));
    }

    #[test]
    fn the_last_of_repeated_values_counts() {
        assert_eq!(form("a=1&a=2").text("a").unwrap(), Some("2"));
    }

    #[test]
    fn broken_escapes_and_foreign_bytes_are_refused() {
        for encoded in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%ff", b"a=\xff", b"a=%00"] {
            assert_eq!(Form::parse(encoded).unwrap_err().status, 400, "{encoded:?}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let error = form("amount=1&card[number]=4242").only(&["amount"]).unwrap_err();
        assert_eq!(error.code, Some("parameter_unknown"));
        assert_eq!(error.param.as_deref(), Some("card"));
    }

    #[test]
    fn numbers_and_flags_are_checked() {
        assert_eq!(form("a=1.5").integer("a").unwrap_err().code, Some("parameter_invalid_integer"));
        assert_eq!(form("a=9223372036854775808").integer("a").unwrap_err().status, 400);
        assert!(form("a=true").flag("a").unwrap());
        assert_eq!(form("a=yes").flag("a").unwrap_err().status, 400);
    }

    #[test]
    fn metadata_keeps_within_the_limits() {
        assert!(form("metadata[a]=").metadata().unwrap().is_empty());
        for bad in ["metadata=1", "metadata[]=1", "metadata[a][b]=1", "metadata[a=1"] {
            assert_eq!(form(bad).metadata().unwrap_err().status, 400, "{bad}");
        }
        let long = format!("metadata[a]={}", "x".repeat(METADATA_VALUE_CHARS_MAX + 1));
        assert_eq!(form(&long).metadata().unwrap_err().status, 400);
        let many: Vec<String> =
            (0..=METADATA_KEYS_MAX).map(|i| format!("metadata[k{i}]=v")).collect();
        assert_eq!(form(&many.join("&")).metadata().unwrap_err().status, 400);
    }
}
