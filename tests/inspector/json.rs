//! A reader of JSON (RFC 8259) that takes nothing else.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// A field of an object.
    pub fn at(&self, name: &str) -> &Value {
        match self {
            Self::Object(fields) => fields.get(name).unwrap_or_else(|| panic!("no {name} in {fields:?}")),
            other => panic!("{other:?} has no field {name}"),
        }
    }

    pub fn list(&self) -> &[Value] {
        let Self::List(items) = self else { panic!("{self:?} is no list") };
        items
    }

    pub fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("{self:?} is no number") };
        *number as u64
    }

    pub fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("{self:?} is no text") };
        text
    }

    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }
}

/// Reads one value, with nothing behind it but white space.
pub fn parse(text: &str) -> Value {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let value = reader.value();
    reader.space();
    assert_eq!(reader.at, text.len(), "something follows: {}", &text[reader.at..]);
    value
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn expect(&mut self, word: &str) {
        let end = self.at + word.len();
        assert_eq!(self.bytes.get(self.at..end), Some(word.as_bytes()), "at {}", self.at);
        self.at = end;
    }

    fn word(&mut self, word: &str, value: Value) -> Value {
        self.expect(word);
        value
    }

    fn value(&mut self) -> Value {
        self.space();
        match self.bytes[self.at] {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'"' => Value::Text(self.text()),
            b'[' => self.items(),
            b'{' => self.fields(),
            _ => self.number(),
        }
    }

    fn items(&mut self) -> Value {
        let mut items = Vec::new();
        self.expect("[");
        self.space();
        if self.bytes[self.at] == b']' {
            self.at += 1;
            return Value::List(items);
        }
        loop {
            items.push(self.value());
            self.space();
            match self.next() {
                b',' => {}
                b']' => return Value::List(items),
                other => panic!("{:?} in a list", char::from(other)),
            }
        }
    }

    fn fields(&mut self) -> Value {
        let mut fields = BTreeMap::new();
        self.expect("{");
        self.space();
        if self.bytes[self.at] == b'}' {
            self.at += 1;
            return Value::Object(fields);
        }
        loop {
            self.space();
            let name = self.text();
            self.space();
            self.expect(":");
            let value = self.value();
            assert!(fields.insert(name.clone(), value).is_none(), "{name} is there twice");
            self.space();
            match self.next() {
                b',' => {}
                b'}' => return Value::Object(fields),
                other => panic!("{:?} in an object", char::from(other)),
            }
        }
    }

    fn text(&mut self) -> String {
        self.expect("\"");
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                b'"' => return String::from_utf8(bytes).expect("it is UTF-8"),
                b'\\' => match self.next() {
                    b'n' => bytes.push(b'\n'),
                    b'r' => bytes.push(b'\r'),
                    b't' => bytes.push(b'\t'),
                    b'b' => bytes.push(8),
                    b'f' => bytes.push(12),
                    plain @ (b'"' | b'\\' | b'/') => bytes.push(plain),
                    b'u' => {
                        let digits = std::str::from_utf8(&self.bytes[self.at..self.at + 4]).expect("digits");
                        let letter = char::from_u32(u32::from_str_radix(digits, 16).expect("digits"));
                        bytes.extend(letter.expect("a letter").to_string().into_bytes());
                        self.at += 4;
                    }
                    other => panic!("\\{} is no escape", char::from(other)),
                },
                control if control < 0x20 => panic!("a bare control letter, {control}"),
                plain => bytes.push(plain),
            }
        }
    }

    fn number(&mut self) -> Value {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| b"+-.eE0123456789".contains(byte)) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).expect("ASCII");
        let digits = text.trim_start_matches('-');
        let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
        assert!(!whole.is_empty() && (whole == "0" || !whole.starts_with('0')), "{text:?} is no number");
        assert!(
            !text.starts_with('+') && !text.ends_with('.') && !text.contains(".e"),
            "{text:?} is no number"
        );
        Value::Number(text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
    }
}

#[test]
fn the_reader_takes_json_and_nothing_else() {
    let value = parse(" {\"a\": [1, -2.5e3, \"x\\n\\u00e9\"], \"b\": {}, \"c\": [ ], \"d\": null} ");
    assert_eq!(value.at("a").list()[1], Value::Number(-2500.0));
    assert_eq!(value.at("a").list()[2].text(), "x\né");
    for wrong in [
        "{",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "1.",
        "NaN",
        "'a'",
        "[1] 2",
        "\"\n\"",
        "{a:1}",
        "+1",
        "tru",
        "\"\\x\"",
    ] {
        assert!(std::panic::catch_unwind(|| parse(wrong)).is_err(), "{wrong}");
    }
}
