//! Texts with values filled in: Jinja, as minijinja has it.

use crate::config::ConfigError;
use crate::message::Message;
use bodkin_engine::ChannelError;
use minijinja::{Environment, UndefinedBehavior, context};
use std::fmt;

/// Steps that a template may take: a loop without end ends.
const FUEL: u64 = 1_000_000;
const NAME: &str = "template";

/// A compiled template.
pub(crate) struct Template {
    environment: Environment<'static>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Template {
    pub(crate) fn new(key: &'static str, text: &str) -> Result<Self, ConfigError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|error| ConfigError::new(key, format!("{error:#}")))?;
        Ok(Self { environment })
    }

    /// The text for a message: `title`, `key`, and `notification` or `rows`.
    pub(crate) fn render(&self, key: &str, message: &Message) -> Result<String, ChannelError> {
        let values = match message {
            Message::Notification(notification) => {
                context! { title => message.title(), key => key, notification => notification, alerts => notification.alerts }
            }
            Message::Rows(rows) => context! { title => message.title(), key => key, rows => rows },
        };
        let template = self.environment.get_template(NAME).map_err(|error| crate::http::dead(format!("{error:#}")))?;
        template.render(values).map_err(|error| crate::http::dead(format!("template: {error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;
    use crate::message::tests::notification;

    #[test]
    fn values_are_filled_in() {
        let template = Template::new(
            "t",
            "{{ title }}: {% for alert in alerts %}{{ alert.annotations.summary }}{{ alert.none }}{% endfor %}",
        )
        .unwrap();
        let text = template.render("k", &Message::Notification(notification(Status::Resolved))).unwrap();
        assert_eq!(text, "[RESOLVED] DiskFull (host=\"a\" severity=\"critical\"): disk of a is full");
        let endless =
            Template::new("t", "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}");
        assert!(endless.unwrap().render("k", &Message::Rows(Vec::new())).unwrap_err().is_final);
    }
}
