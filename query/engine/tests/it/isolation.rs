//! A principal sees the rows of its tenant only.

use crate::fixture::{DAY, Event, Memory, cells, event_rows, sample_rows, series_rows, table_of};
use bodkin_schema::{Principal, Stream, Tenant};

fn principal(tenant: &str) -> Principal {
    Principal { tenant: Tenant(tenant.into()), name: "".into() }
}

/// ISO-1: neither files nor tail nor an old version nor a count from the log shows another tenant's rows.
#[tokio::test]
async fn rows_of_other_tenants_are_not_there() {
    let memory = Memory::open().await;
    let event = |pid, comm| Event { ts: DAY, evt_type: "execve", pid, comm, ..Event::default() };
    for is_flushed in [true, false] {
        memory.write(Stream::Events, event_rows(&[event(1, "mine"), event(2, "mine")]), "a", DAY);
        memory.write(Stream::Events, event_rows(&[event(3, "theirs")]), "b", DAY);
        for (tenant, job) in [("a", "mine"), ("b", "theirs")] {
            memory.write(Stream::Series, series_rows(&[(7, "up", job, DAY, DAY)]), tenant, DAY);
            memory.write(Stream::Samples, sample_rows(&[(7, DAY, 1.0)]), tenant, DAY);
        }
        if is_flushed {
            memory.flush().await;
        }
    }
    let engine = memory.engine();
    let version = memory.tables.snapshot().table(Stream::Events).version.unwrap();
    let at = format!("SELECT count(*) FROM snapshot('events', {version})");
    let ask = async |tenant: &str, text: &str| cells(&table_of(&engine, &principal(tenant), text).await.unwrap());
    for (tenant, comm, count) in [("a", "mine", "4"), ("b", "theirs", "2")] {
        assert_eq!(ask(tenant, "SELECT count(*) FROM events").await, [count]);
        assert_eq!(ask(tenant, "SELECT DISTINCT comm, tenant FROM events").await, [format!("{comm} {tenant}")]);
        assert_eq!(ask(tenant, "SELECT DISTINCT comm FROM processes WHERE tenant <> 'c'").await, [comm]);
        assert_eq!(ask(tenant, &at).await, [if tenant == "a" { "2" } else { "1" }]);
        assert_eq!(ask(tenant, "SELECT DISTINCT labels['job'] FROM metrics").await, [comm]);
        assert_eq!(
            ask(tenant, "SELECT (SELECT max(comm) FROM events), count(*) FROM events e JOIN events f ON true")
                .await
                .len(),
            1
        );
    }
    assert_eq!(ask("a", "SELECT count(*) FROM events WHERE tenant = 'b'").await, ["0"]);
    assert_eq!(ask("c", "SELECT count(*), max(comm) FROM events").await, ["0"]);
    assert_eq!(ask("", "SELECT count(*) FROM events").await, ["0"]);
}
