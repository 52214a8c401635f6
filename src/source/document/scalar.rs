//! Plain scalars, as kubectl reads them: the YAML 1.1 rules of go-yaml v2, which sigs.k8s.io/yaml keeps.
//!
//! `name: no` is `false` there, and then fails the schema. Reading it as the string "no" would accept here what a
//! cluster refuses.

use std::sync::LazyLock;

use granit_parser::Tag;
use regex::Regex;
use serde_json::{Number, Value};

use super::Reason;

/// What a scalar means, given its text, whether it is plain (unquoted), and its tag.
pub(super) fn value(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, Reason> {
    let Some(tag) = tag else {
        return if plain { resolve(text) } else { Ok(Value::String(text.to_owned())) };
    };
    let mismatch = || Reason::TagMismatch(tag.original());
    let checked = |fits: fn(&Value) -> bool| {
        let value = resolve(text)?;
        if fits(&value) { Ok(value) } else { Err(mismatch()) }
    };
    match tag.core_suffix() {
        Some("str") => Ok(Value::String(text.to_owned())),
        Some("int") => checked(|value| value.is_i64() || value.is_u64()),
        Some("float") => checked(Value::is_number),
        Some("bool") => checked(Value::is_boolean),
        Some("null") => checked(Value::is_null),
        Some("map" | "seq") => Err(mismatch()),
        // The non-specific tag `!` asks for a string.
        _ if tag.original() == "!" => Ok(Value::String(text.to_owned())),
        _ if tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() == Some("timestamp") => {
            Ok(Value::String(text.to_owned()))
        }
        _ => Err(Reason::UnknownTag(tag.original())),
    }
}

/// A key as JSON writes it: numbers and booleans become their text.
pub(super) fn key(text: &str, plain: bool, tag: Option<&Tag>) -> Result<String, Reason> {
    match value(text, plain, tag)? {
        Value::String(key) => Ok(key),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(key) => Ok(key.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Reason::KeyNotString),
    }
}

fn resolve(text: &str) -> Result<Value, Reason> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err(Reason::NotFinite),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) => {
            number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        _ => Value::String(text.to_owned()),
    })
}

fn number(text: &str) -> Option<Number> {
    #[expect(clippy::expect_used, reason = "a constant pattern; the tests compile it")]
    static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").expect("the pattern is valid")
    });
    let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(integer) = integer(&plain) {
        return Some(integer);
    }
    if !FLOAT.is_match(&plain) {
        return None;
    }
    let float: f64 = plain.parse().ok()?;
    whole(float).or_else(|| Number::from_f64(float))
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`: a sign, then `0x`, `0o`, `0b`, a leading zero for octal, or
/// decimal digits.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let signed = if negative { -magnitude } else { magnitude };
    match (i64::try_from(signed), u64::try_from(signed)) {
        (Ok(number), _) => Some(number.into()),
        // Go's ParseUint takes no sign.
        (Err(_), Ok(number)) if !text.starts_with('+') => Some(number.into()),
        (Err(_), _) => None,
    }
}

/// kubectl writes a float without fraction as an integer (Go's JSON encoder), so `300.0` passes as `300`.
fn whole(float: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
    (float.fract() == 0.0 && float.abs() < EXACT).then(|| Number::from(float as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::resolve;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        let table: [(&str, Value); 40] = [
            ("", json!(null)),
            ("~", json!(null)),
            ("NULL", json!(null)),
            ("nULL", json!("nULL")),
            ("no", json!(false)),
            ("Off", json!(false)),
            ("n", json!(false)),
            ("y", json!(true)),
            ("on", json!(true)),
            ("YES", json!(true)),
            ("yEs", json!("yEs")),
            ("0", json!(0)),
            ("-0", json!(0)),
            ("+5", json!(5)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("08", json!(8)),
            ("0b101", json!(5)),
            ("-0b101", json!(-5)),
            ("1_000", json!(1000)),
            ("2024_01", json!(202_401)),
            ("300.0", json!(300)),
            ("1e3", json!(1000)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1)),
            (".", json!(".")),
            ("+", json!("+")),
            ("-", json!("-")),
            ("--5", json!("--5")),
            ("+-5", json!("+-5")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("1.2.3", json!("1.2.3")),
            ("12:30:45", json!("12:30:45")),
            ("2026-01-31", json!("2026-01-31")),
            ("2026-01-31T08:00:00Z", json!("2026-01-31T08:00:00Z")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("1e400", json!("1e400")),
        ];
        for (text, expected) in table {
            assert_eq!(resolve(text).unwrap(), expected, "{text:?}");
        }
    }
}
