//! `${NAME:default}` in a value.

/// What stands before, in and after the first placeholder.
pub fn first(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("${")?;
    let mut depth = 0;
    let mut rest = start;
    while let Some(next) = text[rest..].find(['$', '}']).map(|at| at + rest) {
        if text[next..].starts_with("${") {
            depth += 1;
        } else if text[next..].starts_with('}') {
            depth -= 1;
            if depth == 0 {
                return Some((&text[..start], &text[start + 2..next], &text[next + 1..]));
            }
        }
        rest = next + 1;
    }
    None
}

/// Name and default, at the first colon that is in no inner placeholder.
pub fn parted(inner: &str) -> (&str, Option<&str>) {
    let mut depth = 0;
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ':' if depth == 0 => return (&inner[..at], Some(&inner[at + 1..])),
            _ => {}
        }
    }
    (inner, None)
}
