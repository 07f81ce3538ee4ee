//! Sources that flap, trickle, or are silent for good.

use super::*;

#[test]
fn a_flapping_source_is_told_once_in_an_interval_and_in_its_last_state() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Flap", "sql": "x", "when": "true", "every": "1s"}],
            "route": {"channel": "ops", "group_interval": "1m", "repeat": "4h"}}"#,
    );
    for second in 0..600 {
        let kind = if second % 2 == 0 { Kind::Firing } else { Kind::Clear };
        world.observe(second, &[("Flap", kind, "a", 1.0), ("Flap", Kind::Done, "", 0.0)]);
        world.tick(second);
    }
    assert_eq!(world.states().len(), 600, "each change is a row of the table");
    let keys: std::collections::BTreeSet<String> = world.sent.iter().map(|(_, key, _)| key.clone()).collect();
    assert_eq!(keys.len(), world.sent.len());
    assert!((5..=11).contains(&keys.len()), "{}", keys.len());
    world.told();
    world.tick(700);
    let told = world.told();
    assert!(told.len() <= 1 && world.board.alerts().is_empty(), "{told:?}");
}

#[test]
fn for_holds_back_a_flapping_source() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Flap", "sql": "x", "when": "true", "every": "1s", "for": "5s"}], "route": {"channel": "ops"}}"#,
    );
    for second in 0..60 {
        let kind = if second % 4 == 3 { Kind::Clear } else { Kind::Firing };
        world.observe(second, &[("Flap", kind, "a", 1.0), ("Flap", Kind::Done, "", 0.0)]);
        world.tick(second);
    }
    assert!(world.told().is_empty() && world.states().iter().all(|state| !state.ends_with("firing")));
}

#[test]
fn a_trickle_behind_a_burst_does_not_keep_it_firing() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Many", "from": "events", "when": "true", "count": 3, "over": "10s", "keep": "1m"}],
            "route": {"channel": "ops"}}"#,
    );
    world.tick(0);
    for second in [1, 2, 3, 33, 63, 93] {
        world.tick(second);
        world.observe(second, &[("Many", Kind::Firing, "a", 1.0)]);
    }
    assert_eq!(world.states(), ["3 Many firing", "64 Many resolved"]);
}

#[test]
fn a_source_that_is_silent_for_good_is_forgotten() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Silent", "from": "events", "absent": "5m"}], "route": {"channel": "ops"}}"#,
    );
    world.tick(0);
    world.observe(0, &[("Silent", Kind::Firing, "a", 1.0)]);
    world.tick(299);
    world.restart();
    world.tick(300);
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
    world.restart();
    world.tick(86_400);
    assert!(world.told().iter().all(|told| told.1 == Status::Firing), "it is repeated for a day");
    world.tick(86_420);
    assert_eq!(world.told(), [ops(1, Status::Resolved)]);
    assert_eq!(world.states(), ["300 Silent firing", "86401 Silent resolved"]);
    // It comes back as what it is: a source that has rows.
    world.observe(90_000, &[("Silent", Kind::Firing, "a", 1.0)]);
    assert!(world.states().is_empty());
}
