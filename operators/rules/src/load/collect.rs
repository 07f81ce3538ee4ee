//! The objects of all files by name: redefinition, `append` and `override`.

use super::exception::ExceptionDef;
use super::kind::{Priority, Source};
use super::text::{At, Text};
use crate::syntax::suggest::did_you_mean;
use std::collections::{BTreeMap, BTreeSet};

/// When an object was first defined and last changed, counted over all objects of its kind: a macro sees the macros,
/// and a list the lists, that were first defined before it was last changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) visibility: usize,
}

#[derive(Debug)]
pub(super) struct ListDef {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) order: Order,
    pub(super) items: Vec<Text>,
}

#[derive(Debug)]
pub(super) struct MacroDef {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) order: Order,
    pub(super) condition: Text,
}

#[derive(Debug)]
pub(super) struct RuleDef {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) order: Order,
    pub(super) condition: Text,
    pub(super) output: Text,
    pub(super) description: String,
    pub(super) priority: Priority,
    /// None where no such source is known; the rule is then left out.
    pub(super) source: Option<Source>,
    pub(super) tags: BTreeSet<String>,
    pub(super) exceptions: Vec<ExceptionDef>,
    pub(super) is_enabled: bool,
    pub(super) warns_of_event_types: bool,
    pub(super) is_skipped_if_unknown: bool,
}

/// Objects of one kind in the order of their first definition.
#[derive(Debug)]
pub(super) struct Named<T> {
    items: Vec<T>,
    by_name: BTreeMap<String, usize>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { items: Vec::new(), by_name: BTreeMap::new() }
    }
}

impl<T> Named<T> {
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn into_items(self) -> Vec<T> {
        self.items
    }

    /// The place of an object among those of its kind.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.items.get(*self.by_name.get(name)?)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.items.get_mut(*self.by_name.get(name)?)
    }

    /// A suggestion of the name that is nearest to `name`.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        did_you_mean(name, self.by_name.keys().map(String::as_str))
    }

    fn insert(&mut self, name: &str, item: T) {
        match self.by_name.get(name) {
            Some(index) => self.items[*index] = item,
            None => {
                self.by_name.insert(name.to_owned(), self.items.len());
                self.items.push(item);
            }
        }
    }
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Collection {
    pub(super) lists: Named<ListDef>,
    pub(super) macros: Named<MacroDef>,
    pub(super) rules: Named<RuleDef>,
    /// Names of objects that were refused: what refers to them is not reported once more.
    pub(super) refused: BTreeSet<String>,
    changes: usize,
}

impl Collection {
    /// The order of an object that is defined or changed now.
    fn order(&mut self, before: Option<Order>) -> Order {
        let now = self.next_change();
        Order { index: before.map_or(now, |order| order.index), visibility: now }
    }

    pub(super) fn next_change(&mut self) -> usize {
        self.changes += 1;
        self.changes - 1
    }

    pub(super) fn define_list(&mut self, mut list: ListDef) {
        list.order = self.order(self.lists.get(&list.name).map(|before| before.order));
        let name = list.name.clone();
        self.lists.insert(&name, list);
    }

    /// Adds items; false where there is no such list.
    pub(super) fn append_list(&mut self, list: ListDef) -> bool {
        let order = self.order(self.lists.get(&list.name).map(|before| before.order));
        let Some(before) = self.lists.get_mut(&list.name) else { return false };
        before.items.extend(list.items);
        before.order = order;
        true
    }

    pub(super) fn define_macro(&mut self, mut definition: MacroDef) {
        definition.order = self.order(self.macros.get(&definition.name).map(|before| before.order));
        let name = definition.name.clone();
        self.macros.insert(&name, definition);
    }

    /// Adds to the condition; false where there is no such macro.
    pub(super) fn append_macro(&mut self, definition: &MacroDef) -> bool {
        let order = self.order(self.macros.get(&definition.name).map(|before| before.order));
        let Some(before) = self.macros.get_mut(&definition.name) else { return false };
        append(&mut before.condition, &definition.condition);
        before.order = order;
        true
    }

    pub(super) fn define_rule(&mut self, mut rule: RuleDef) {
        rule.order = self.order(self.rules.get(&rule.name).map(|before| before.order));
        let name = rule.name.clone();
        self.rules.insert(&name, rule);
    }
}

/// Joins two texts with a blank, as `append` does.
pub(super) fn append(text: &mut Text, more: &Text) {
    text.push_str(" ", more.at(0));
    text.push_text(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, items: &[&str]) -> ListDef {
        let text = |item: &&str| {
            let mut text = Text::default();
            text.push_str(item, At::default());
            text
        };
        ListDef {
            name: name.to_owned(),
            at: At::default(),
            order: Order::default(),
            items: items.iter().map(text).collect(),
        }
    }

    #[test]
    fn redefinition_keeps_the_place_and_renews_what_is_seen() {
        let mut collection = Collection::default();
        collection.define_list(list("a", &["x"]));
        collection.define_list(list("b", &["y"]));
        assert!(collection.append_list(list("a", &["b"])));
        assert!(!collection.append_list(list("c", &[])));
        let a = collection.lists.get("a").unwrap();
        assert_eq!((a.order.index, a.order.visibility, a.items.len()), (0, 2, 2));
        collection.define_list(list("a", &["z"]));
        assert_eq!(collection.lists.items()[0].items[0].as_str(), "z");
    }
}
