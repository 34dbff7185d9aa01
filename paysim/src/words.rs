//! One macro for enums that are words on the wire and in the database, so that the spelling of each
//! stands in exactly one place. No behaviour of the words belongs here.

/// A text that is none of the enum's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is none of {expected}")]
pub(crate) struct UnknownWord {
    pub(crate) text: String,
    pub(crate) expected: String,
}

macro_rules! words {
    ($(#[$meta:meta])* enum $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)+ }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(crate::words::UnknownWord {
                        text: text.to_owned(),
                        expected: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
