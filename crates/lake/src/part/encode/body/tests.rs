use proptest::prelude::*;

use super::*;

/// Template (`#` number, `@` word), numbers (as the integers behind them) and words of a text that is taken apart.
fn parts(text: &str) -> (String, Vec<i64>, String) {
    let mut splitter = Splitter::default();
    assert!(splitter.split(text));
    let template = String::from_utf8(splitter.template).unwrap();
    let template = template.replace('\u{1}', "#").replace('\u{2}', "@");
    let integers = splitter
        .numbers
        .iter()
        .map(|number| *number as i64 - (1 << 52))
        .collect();
    (template, integers, String::from_utf8(splitter.words).unwrap())
}

/// Whether the text was taken apart; panics if it does not come back.
fn there_and_back(text: &str) -> bool {
    let mut splitter = Splitter::default();
    if !splitter.split(text) {
        return false;
    }
    let template = std::str::from_utf8(&splitter.template).unwrap();
    let words = (!splitter.words.is_empty()).then(|| std::str::from_utf8(&splitter.words).unwrap());
    assert_eq!(numbers_of(template), splitter.numbers.len());
    assert!(splitter.numbers.len() <= BODY_NUMBERS);
    let mut out = Vec::new();
    join(template, words, |k| splitter.numbers.get(k).copied(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), text);
    true
}

#[test]
fn numbers_and_words_leave_their_template() {
    assert_eq!(
        parts("no digits here"),
        ("no digits here".to_owned(), vec![], String::new())
    );
    assert_eq!(
        parts("took 0042 ms"),
        ("took # ms".to_owned(), vec![0x10042], String::new())
    );
    assert_eq!(
        parts("GET /api/v1/carts/17 from 10.2.0.9 in 12ms"),
        (
            "GET /api/v#/carts/# from #.#.#.# in #ms".to_owned(),
            vec![0x11, 0x117, 0x110, 0x12, 0x10, 0x19, 0x112],
            String::new()
        )
    );
    assert_eq!(parts("id=b3d1f0"), ("id=#".to_owned(), vec![0x1b3_d1f0], String::new()));
    // Thirteen digits do not fit one number.
    assert_eq!(
        parts("0123456789abc"),
        ("##".to_owned(), vec![0x1_0123_4567_89ab, 0x1c], String::new())
    );
    assert_eq!(
        parts("2026-11-24T18:45 at 0x7f by Qk3b9"),
        (
            "#-#-@:# at @ by @".to_owned(),
            vec![0x12026, 0x111, 0x145],
            "24T18 0x7f Qk3b9".to_owned()
        )
    );
}

#[test]
fn numbers_beyond_the_last_column_become_words() {
    let text = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let (_, numbers, words) = parts(&text);
    assert_eq!(numbers.len(), BODY_NUMBERS);
    assert_eq!(words.split(' ').count(), 40 - BODY_NUMBERS);
    assert!(there_and_back(&text));
    assert!(there_and_back(&"9".repeat(1000)));
}

#[test]
fn texts_with_placeholders_and_documents_stay_whole() {
    assert!(!there_and_back("a \u{1} 1"));
    assert!(!there_and_back("\u{2}"));
    assert!(!there_and_back(&"a1 ".repeat(MAX_BYTES)));
    assert!(there_and_back(""));
    assert!(there_and_back("\u{0}\u{3}\u{7f} 1"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refused = |template: &str, words: Option<&str>, number: Option<f64>| {
        assert_eq!(join(template, words, |_| number, &mut Vec::new()), Err(Mismatch));
    };
    refused("\u{1}", None, None);
    refused("\u{2}", None, Some(0.0));
    refused("\u{2}\u{2}", Some("one"), None);
    for integer in [0u64, 1, 0xf, 0x20, 0x2000, 0x10_0000_0000_0000] {
        refused("\u{1}", None, Some((integer + (1 << 52)) as f64));
    }
    for number in [0.0, -1.0, 0.5, f64::NAN, f64::INFINITY, f64::MIN, f64::MAX] {
        refused("\u{1}", None, Some(number));
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        there_and_back(&text);
    }

    #[test]
    fn texts_of_digits_and_letters_come_back(text in "[0-9a-gA-FxTé .:=\\-\n\u{1}\u{2}]{0,200}") {
        there_and_back(&text);
    }

    #[test]
    fn any_numbers_are_refused_or_joined(template in "[a#@\u{1}\u{2}é]{0,20}", words in any::<Option<String>>(), number in any::<f64>()) {
        let mut out = Vec::new();
        let _ = join(&template, words.as_deref(), |_| Some(number), &mut out);
        prop_assert!(String::from_utf8(out).is_ok());
    }
}
