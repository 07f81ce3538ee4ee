//! Conditions in, trees and errors out.

use super::*;

fn shown(text: &str) -> String {
    parse_condition(text).map_or_else(|e| format!("{}..{}: {}", e.span.start, e.span.end, e.message), |e| e.to_string())
}

#[test]
fn conditions_are_read_as_falco_reads_them() {
    for (text, tree) in [
        ("a or b and not c", "(a or (b and not c))"),
        ("not not a", "a"),
        ("not(a)and(b)or(c)", "((not a and b) or c)"),
        ("evt.type=open", "evt.type = open"),
        ("evt.type == open and fd.num>=0x1F", "(evt.type = open and fd.num >= 0x1F)"),
        ("fd.num<-1.5e+3", "fd.num < -1.5e+3"),
        ("proc.name in (a,'b c', \"d\")", "proc.name in (a, \"b c\", d)"),
        ("proc.name in()", "proc.name in ()"),
        ("proc.name in (in, exists, and)", "proc.name in (in, exists, and)"),
        ("proc.aname[2] exists", "proc.aname[2] exists"),
        ("jevt.value[/a/b] = \"\"", "jevt.value[/a/b] = \"\""),
        ("a.b['x y'] startswith oneof (a, b)", "a.b[x y] startswith oneof (a, b)"),
        ("a.b startswith oneof and c", "(a.b startswith oneof and c)"),
        ("tolower( basename(proc.exe)) = val(proc.name)", "tolower(basename(proc.exe)) = val(proc.name)"),
        ("getopt(proc.args, \"nt:\")[t] contains x", "getopt(proc.args, nt:)[t] contains x"),
        ("a.b = join(\",\", (proc.name, \"x\", 5))", "a.b = join(\",\", (proc.name, x, 5))"),
        ("a.b = \"q\\\"\\x41\\ \\/\"", "a.b = \"q\\\"A\\\\/\""),
        ("a.b = '\\xff\\xFE'", "a.b = \"\\xff\\xfe\""),
        ("a.b contains ../", "a.b contains ../"),
        ("a.b in my_list", "a.b in (my_list)"),
        ("not_a_not and a.b exists", "(not_a_not and a.b exists)"),
    ] {
        assert_eq!(shown(text), tree, "{text}");
    }
}

#[test]
fn errors_are_located() {
    for (text, expected) in [
        ("", "0..0: expected a comparison, a macro or '(', but the text ends"),
        ("a.b = ", "6..6: expected a value, but the text ends"),
        ("a and (b or c", "6..7: this '(' is never closed"),
        ("a and b) or c", "7..8: there is no '(' for this ')'"),
        ("a.b is c", "4..6: expected an operator, found 'is'"),
        ("a.b", "0..3: 'a.b' is compared with nothing"),
        ("a.b = \"open", "6..11: this quote is never closed"),
        ("a.b = \"\\q\"", "7..9: there is no such escape"),
        ("a.b = \"\\x4\"", "7..10: \\x is followed by two hexadecimal digits"),
        ("a.b > x", "6..7: expected a number, found 'x'"),
        ("a.b in (c,)", "10..11: expected a value, found ')'"),
        ("a.b in (c d)", "10..11: expected ',' or ')', found 'd'"),
        ("a b", "2..3: expected 'and', 'or' or the end, found 'b'"),
        ("a.b[x = y", "3..5: this '[' is never closed"),
        ("or a", "0..2: a comparison or a macro is missing before 'or'"),
        ("a and (not) and b", "7..10: a comparison or a macro is missing after 'not'"),
        ("name = x", "0..4: 'name' is compared like a field, but has no class"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn a_misspelt_word_is_suggested() {
    let hint = |text: &str| parse_condition(text).unwrap_err().hint.unwrap_or_default();
    assert_eq!(hint("a.b startwith c"), "did you mean startswith?");
    assert_eq!(hint("a.b exists adn c"), "did you mean and?");
    assert_eq!(hint("name = x"), "fields have the form class.name, for example proc.name");
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse_condition(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(parse_condition(&nested(100_000)).unwrap_err().message.contains("nested deeper"));
    let calls = format!("{}a.b{} = x", "tolower(".repeat(100_000), ")".repeat(100_000));
    assert!(parse_condition(&calls).unwrap_err().message.contains("nested deeper"));
    assert!(parse_condition(&"not ".repeat(100_000)).is_err());
}

#[test]
fn an_output_operand_ends_where_it_ends() {
    let (operand, length) = parse_output_operand("proc.aname[2] x").unwrap();
    assert_eq!((operand.to_string().as_str(), length), ("proc.aname[2]", 13));
    let (operand, length) = parse_output_operand("tolower(proc.name), y").unwrap();
    assert_eq!((operand.to_string().as_str(), length), ("tolower(proc.name)", 18));
}

/// SAFE-1: whatever the text, there is an answer.
#[test]
fn mutated_conditions_never_panic() {
    let seeds = [
        "(evt.type in (open,openat) and fd.num>=0x10 and not proc.name in (\"a b\", 'c'))",
        "tolower(proc.name) startswith oneof (a, \"\\x41\") or getopt(proc.args, \"a:\")[a] = val(fd.name)",
        "join(\",\", (proc.name, \"\u{e9}\")) = x and proc.aname[2] exists or (m1 and m2)",
    ];
    let pieces = ["(", ")", "\"", "'", "\\", "[", "]", ",", " ", "not", "and", "or", "in", "=", "\u{e9}", "\0", "val("];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for round in 0..20_000 {
        let mut text: Vec<char> = seeds[round % seeds.len()].chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(3) {
                0 if !text.is_empty() => drop(text.remove(at)),
                1 => text.splice(at..at, pieces[random(pieces.len())].chars()).for_each(drop),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse_condition(&text) {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{text:?}: {error:?}");
        }
    }
}
