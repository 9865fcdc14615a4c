//! Queries of requests, as forms write them.

/// The fields of a query, decoded (`%3A`, and `+` for a space). A field without `=` has an empty value. None when something
/// cannot be decoded.
pub fn fields(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|field| !field.is_empty());
    parts
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// A name or value, decoded; none when it is not percent-encoded UTF-8.
pub fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                hex_digit(digits[0])? << 4 | hex_digit(digits[1])?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_in_order() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields(""), Some(vec![]));
        assert_eq!(
            fields("a=1&b&c%20d=x+y&a=2"),
            Some(vec![pair("a", "1"), pair("b", ""), pair("c d", "x y"), pair("a", "2")])
        );
        assert_eq!(fields("a=%zz"), None);
        assert_eq!(fields("a=%ff"), None);
    }
}
