//! A clock that is set, and a server that was away.

use super::*;

const RULES: &str = r#"{"rules": [
    {"alert": "Load", "sql": "x", "when": "true", "for": "60s", "every": "15s"},
    {"alert": "Silent", "from": "events", "absent": "2m", "by": ["host"]},
    {"alert": "Shadow", "from": "events", "when": "true", "by": ["host"], "keep": "1m"}],
    "route": {"channel": "ops", "group_by": ["..."], "group_interval": "10s", "repeat": "5m"}}"#;

fn load(world: &mut World, second: i64) {
    world.observe(second, &[("Load", Kind::Firing, "a", 1.0), ("Load", Kind::Done, "", 0.0)]);
}

/// Something of each rule at the start, and a tick.
fn begun(start: i64) -> World {
    let mut world = World::new(RULES);
    world.tick(start);
    load(&mut world, start);
    world.observe(start, &[("Silent", Kind::Firing, "a", 1.0), ("Shadow", Kind::Firing, "a", 1.0)]);
    assert_eq!(world.states(), [format!("{start} Load pending"), format!("{start} Shadow firing")]);
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
    world
}

#[test]
fn the_time_in_which_the_server_was_away_does_not_count() {
    let mut world = begun(1000);
    world.tick(1030);
    world.restart();
    // Away for almost an hour: of that ten seconds count.
    world.tick_once(4600);
    assert!(world.states().is_empty(), "nobody could see a row, or that the load goes on");
    // The load has been seen for 40 s, the source has been silent for 40 s.
    load(&mut world, 4601);
    for second in 4602..4660 {
        if second % 15 == 0 {
            load(&mut world, second);
        }
        world.tick(second);
    }
    assert_eq!(world.states(), ["4620 Load firing", "4621 Shadow resolved"]);
    world.tick(4680);
    assert_eq!(world.states(), ["4680 Silent firing"]);
}

#[test]
fn alerts_of_others_outlast_the_time_in_which_nobody_could_post_them() {
    let mut world = World::new(RULES);
    let labels = [("alertname".to_owned(), "Disk".to_owned())].into();
    let (starts_at, ends_at) = (1000 * S, 1300 * S);
    world.tick(1000);
    world.post(
        1000,
        &PostedAlert { labels, annotations: Default::default(), starts_at, ends_at, generator_url: String::new() },
    );
    world.tick(1010);
    world.restart();
    world.tick_once(9000);
    assert_eq!(world.states(), ["1000 Disk firing"]);
    // 280 s were left.
    world.tick(9279);
    assert!(world.states().is_empty());
    world.tick(9280);
    assert_eq!(world.states(), ["9280 Disk resolved"]);
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut world = begun(100_000);
    world.tick(100_030);
    // It was a day ahead.
    let now = 100_030 - 86_400;
    for second in now..now + 150 {
        if second % 15 == 0 {
            load(&mut world, second);
        }
        world.tick_once(second);
    }
    let states = world.states();
    assert_eq!(
        states,
        [
            format!("{} Load firing", now + 30),
            format!("{} Shadow resolved", now + 31),
            format!("{} Silent firing", now + 90)
        ]
    );
    // A group was told again after its interval, not after a day: firing of two, one of them resolved.
    assert_eq!(world.told().len(), 3);
    world.tick(now + 30 + 301);
    assert!(world.told().contains(&ops(1, Status::Firing)), "and repeated");
}

#[test]
fn a_batch_from_the_time_before_the_clock_was_set_back_moves_nothing() {
    let mut world = begun(100_000);
    world.tick_once(50_000);
    let row = [("Shadow", Kind::Firing, "b", 1.0)];
    let observation = |(rule, kind, host, value): &(&str, Kind, &str, f64)| Observation {
        ts: 100_000 * S,
        rule: (*rule).to_owned(),
        kind: *kind,
        labels: format!("{{\"host\":\"{host}\"}}"),
        value: Some(*value),
    };
    world.take(100_000, &row.iter().map(observation).collect::<Vec<_>>());
    assert_eq!(world.board.now(), 50_010 * S, "it is believed as far as it lies close to the last tick");
    world.tick(50_080);
    assert_eq!(world.states().last().map(String::as_str), Some("50071 Shadow resolved"));
}

#[test]
fn what_is_not_known_does_not_fire_by_the_clock() {
    let mut world = begun(1000);
    // The query fails from here on.
    world.tick(1200);
    assert!(!world.states().iter().any(|state| state.contains("Load")), "its last answer is minutes old");
    load(&mut world, 1201);
    assert!(world.states().contains(&"1201 Load firing".to_owned()));
}
