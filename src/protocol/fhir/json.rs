//! JSON that has one reading only: a name that stands twice in an object is refused, since another parser might take
//! the other one.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Parses a whole text. Nesting deeper than 128 is refused.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// An object's members as they stand in its text, in their order: for looking at a long one piece by piece, and for
/// passing pieces on untouched. Only the object's own names are looked at; what is in the members is not.
#[derive(Debug)]
pub struct Members<'text>(Vec<(String, &'text RawValue)>);

impl<'text> Members<'text> {
    /// Reads an object.
    pub fn parse(text: &'text [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// A member.
    pub fn get(&self, name: &str) -> Option<&'text RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// A member that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The items of a member that is a list; none where there is no such member.
    pub fn list(&self, name: &str) -> Result<Vec<&'text RawValue>, serde_json::Error> {
        self.get(name).map_or_else(|| Ok(Vec::new()), |list| serde_json::from_str(list.get()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'text RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Own;
        impl<'de> Visitor<'de> for Own {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut found: Vec<(String, &RawValue)> = Vec::new();
                while let Some(name) = members.next_key::<String>()? {
                    if found.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a name stands twice in an object"));
                    }
                    found.push((name, members.next_value()?));
                }
                Ok(Members(found))
            }
        }
        deserializer.deserialize_map(Own)
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if map.contains_key(&name) {
                return Err(A::Error::custom("a name stands twice in an object"));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", "{", "{} {}", "[1,]", &"[".repeat(100_000)] {
            assert!(parse(text.as_bytes()).is_err(), "{text:.20}");
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_read_as_ever(text in "[\\[\\]{}:,\"a0-9.e\\\\ -]{0,24}") {
            if let (Ok(strict), Ok(plain)) = (parse(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                prop_assert_eq!(strict, plain);
            }
        }
    }
}
