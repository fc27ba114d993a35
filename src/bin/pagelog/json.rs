//! JSON, as far as it is needed to write it (RFC 8259).

use std::fmt::{self, Write};

use pagelog::{Corruption, Lsn, PageId, Version};

#[derive(Clone, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(u64),
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub fn object(fields: impl IntoIterator<Item = (&'static str, Json)>) -> Self {
        Self::Object(fields.into_iter().collect())
    }

    pub fn list(items: impl IntoIterator<Item = Json>) -> Self {
        Self::List(items.into_iter().collect())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Lsn> for Json {
    fn from(value: Lsn) -> Self {
        Self::Integer(value.get())
    }
}

impl From<PageId> for Json {
    fn from(value: PageId) -> Self {
        Self::Integer(value.get())
    }
}

impl From<Version> for Json {
    fn from(value: Version) -> Self {
        Self::Integer(value.get())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&Corruption> for Json {
    fn from(fault: &Corruption) -> Self {
        Self::object([
            ("file", fault.file.as_str().into()),
            ("offset", fault.offset.into()),
            ("lsn", fault.lsn.into()),
            ("page_id", fault.page_id.into()),
            ("reason", fault.reason.as_str().into()),
        ])
    }
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Integer(value) => write!(formatter, "{value}"),
            // Infinities and what is no number have no form.
            Self::Real(value) if value.is_finite() => write!(formatter, "{value}"),
            Self::Real(_) => formatter.write_str("null"),
            Self::Text(text) => quote(formatter, text),
            Self::List(items) => {
                formatter.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    separate(formatter, index)?;
                    item.fmt(formatter)?;
                }
                formatter.write_char(']')
            }
            Self::Object(fields) => {
                formatter.write_char('{')?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    separate(formatter, index)?;
                    quote(formatter, name)?;
                    formatter.write_char(':')?;
                    value.fmt(formatter)?;
                }
                formatter.write_char('}')
            }
        }
    }
}

fn separate(formatter: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
    if index > 0 { formatter.write_char(',') } else { Ok(()) }
}

fn quote(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    formatter.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => formatter.write_str("\\\"")?,
            '\\' => formatter.write_str("\\\\")?,
            '\n' => formatter.write_str("\\n")?,
            '\r' => formatter.write_str("\\r")?,
            '\t' => formatter.write_str("\\t")?,
            letter if u32::from(letter) < 0x20 => write!(formatter, "\\u{:04x}", u32::from(letter))?,
            letter => formatter.write_char(letter)?,
        }
    }
    formatter.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn every_letter_that_has_to_be_is_escaped() {
        let text = Json::from("a\"b\\c\nd\u{1}é\u{7f}");
        assert_eq!(text.to_string(), "\"a\\\"b\\\\c\\nd\\u0001é\u{7f}\"");
    }

    #[test]
    fn values_nest_and_what_has_no_form_is_null() {
        let value = Json::object([
            ("a", Json::list([1_u64.into(), true.into(), Json::Null])),
            ("b", f64::NAN.into()),
            ("c", 0.5.into()),
            ("d", Json::object([])),
        ]);
        assert_eq!(value.to_string(), r#"{"a":[1,true,null],"b":null,"c":0.5,"d":{}}"#);
    }
}
