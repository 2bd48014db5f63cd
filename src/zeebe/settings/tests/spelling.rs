//! However a key is spelt, it is one key.

use super::of;
use proptest::prelude::*;

/// A key as words in parts.
const KEY: [&[&str]; 4] = [
    &["zeebe"],
    &["broker"],
    &["cluster"],
    &["partitions", "count"],
];

/// The words of a part in one of five spellings.
fn spelt(words: &[&str], spelling: usize) -> String {
    let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
    match spelling {
        0 => words.join("-"),
        1 => words.join("_"),
        2 => words.concat().to_uppercase(),
        3 => words.iter().map(|word| upper(word)).collect(),
        _ => {
            words[0].to_owned()
                + &words[1..]
                    .iter()
                    .map(|word| upper(word))
                    .collect::<String>()
        }
    }
}

/// A file in which a part is nested in the one before it, joined to it by a dot, or in flow style.
fn file(parts: &[String], joints: &[usize], value: u32) -> String {
    let Some((last, above)) = parts.split_last() else {
        return String::new();
    };
    let mut text = format!("{last}: {value}");
    for (part, joint) in above.iter().zip(joints).rev() {
        text = match joint {
            0 if !text.contains('\n') => format!("{part}: {{{text}}}"),
            1 => format!("{part}.{text}"),
            _ => format!("{part}:\n  {}", text.replace('\n', "\n  ")),
        };
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_mix_of_spellings_is_one_value_and_the_environment_wins(
        first in prop::collection::vec(0..5usize, 4),
        second in prop::collection::vec(0..5usize, 4),
        joints in prop::collection::vec(0..3usize, 3),
        dashes in any::<bool>(),
        lower in any::<bool>(),
    ) {
        let parts = |spellings: &[usize]| -> Vec<String> {
            KEY.iter().zip(spellings).map(|(words, spelling)| spelt(words, *spelling)).collect()
        };
        let texts = [file(&parts(&first), &joints, 4), file(&parts(&second), &[1, 1, 1], 5)];
        let files = [("a.yaml", texts[0].as_str()), ("b.yaml", texts[1].as_str())];
        let count = |files: &[(&str, &str)], environment: &[(&str, &str)]| {
            of(files, environment, &[]).partitions.map(|said| said.value)
        };
        prop_assert_eq!(count(&files[..1], &[]), Some(4), "{}", texts[0]);
        prop_assert_eq!(count(&files, &[]), Some(5), "{}", texts[1]);
        let property = parts(&second).join(".");
        let arguments = [format!("-D{property}=6")];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        prop_assert_eq!(of(&files, &[], &arguments).partitions.map(|said| said.value), Some(6));
        let name = if dashes { "ZEEBE_BROKER_CLUSTER_PARTITIONS_COUNT" } else { "ZEEBE_BROKER_CLUSTER_PARTITIONSCOUNT" };
        let name = if lower { name.to_lowercase() } else { name.to_owned() };
        prop_assert_eq!(count(&files, &[(&name, "7")]), Some(7));
    }
}
