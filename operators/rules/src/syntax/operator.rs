//! Operators and transformers by name.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The one that is written so.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// A comparison.
    Op {
        /// Has a value.
        Exists = "exists",
        /// Equal; `==` is the same.
        Eq = "=",
        /// Has a value, and it is another.
        Ne = "!=",
        /// Less or equal.
        Le = "<=",
        /// Less.
        Lt = "<",
        /// Greater or equal.
        Ge = ">=",
        /// Greater.
        Gt = ">",
        /// Holds the text.
        Contains = "contains",
        /// Holds the text, ASCII case aside.
        Icontains = "icontains",
        /// Holds the bytes, given as hexadecimal digits.
        Bcontains = "bcontains",
        /// Begins with the text.
        StartsWith = "startswith",
        /// Begins with the bytes, given as hexadecimal digits.
        BstartsWith = "bstartswith",
        /// Ends with the text.
        EndsWith = "endswith",
        /// Matches the shell pattern as a whole.
        Glob = "glob",
        /// Matches the shell pattern as a whole, case aside.
        Iglob = "iglob",
        /// Matches the regular expression as a whole.
        Regex = "regex",
        /// Is in the list; a list field: all of its values are.
        In = "in",
        /// Has a value in the list.
        Intersects = "intersects",
        /// Lies at or below one of the paths.
        Pmatch = "pmatch",
    }
}

words! {
    /// How many values of a list must match.
    Modifier {
        /// Exactly one.
        OneOf = "oneof",
        /// One or more.
        AnyOf = "anyof",
        /// Every one.
        AllOf = "allof",
    }
}

words! {
    /// A function of operands.
    Transformer {
        /// ASCII lower case.
        ToLower = "tolower",
        /// ASCII upper case.
        ToUpper = "toupper",
        /// Decodes base64.
        B64 = "b64",
        /// What follows the last slash.
        Basename = "basename",
        /// Bytes of a text, values of a list.
        Len = "len",
        /// The values of a list with a separator between them.
        Join = "join",
        /// Texts one after the other.
        Concat = "concat",
        /// Options of an argument list, as `getopt(3)` reads them.
        GetOpt = "getopt",
    }
}

impl Op {
    /// Written as a word, so that a blank separates it from its value.
    pub fn is_word(self) -> bool {
        self.word().starts_with(|c: char| c.is_ascii_alphabetic())
    }

    /// Takes a list on its right side.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::Intersects | Self::Pmatch)
    }

    /// Compares by order and takes a number.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Le | Self::Lt | Self::Ge | Self::Gt)
    }

    /// May be followed by a [`Modifier`] and a list.
    pub fn takes_modifier(self) -> bool {
        !self.is_order() && !self.takes_list() && self != Self::Exists
    }
}
