//! One list a table: from it come the struct, its defaults, its parser and its documentation.

use super::error::{Fault, Problem};
use super::found::Found;
use super::kind::nearest;

/// When a changed value takes effect after SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// At once, for everyone.
    Live,
    /// For clients that connect afterwards.
    Connect,
    /// Not before the broker is started again.
    Restart,
}

/// What there is to know of one key of the table `T`.
pub(super) struct Key<T> {
    /// As in the file.
    pub(super) name: &'static str,
    /// The lines of its doc comment.
    pub(super) doc: &'static [&'static str],
    /// When a change takes effect.
    pub(super) reload: Reload,
    /// What may stand there.
    pub(super) expected: fn() -> String,
    /// Its value as TOML, if there is a way to write it.
    pub(super) show: fn(&T) -> Option<String>,
    /// Its value in larger units.
    pub(super) gloss: fn(&T) -> Option<String>,
    /// A value for the example.
    pub(super) sample: fn() -> Option<String>,
    /// Takes a value, or leaves the one that is there and reports why.
    pub(super) read: fn(&mut T, &Found<'_>, &mut Vec<Problem>),
}

/// A table of the file.
pub(super) trait Table: Sized + 'static {
    /// Its name; empty for the keys outside of any table.
    const NAME: &'static str;
    /// The lines of its doc comment.
    const DOC: &'static [&'static str];
    /// Its keys, in the order of the documentation.
    const KEYS: &'static [Key<Self>];

    /// Takes one value; `name` is that of the key within this table.
    fn read(&mut self, name: &str, found: &Found<'_>, problems: &mut Vec<Problem>) {
        match Self::KEYS.iter().find(|key| key.name == name) {
            Some(key) => (key.read)(self, found, problems),
            None => problems
                .push(found.problem(Fault::UnknownKey { nearest: near::<Self>(name, &found.key) })),
        }
    }

    /// Takes all the values of a table of the file.
    fn read_all(&mut self, found: &Found<'_>, problems: &mut Vec<Problem>) {
        match found.entries() {
            Some(entries) => {
                for (name, found) in entries {
                    self.read(name, &found, problems);
                }
            }
            None => problems.push(found.unsuitable(format!("a table, [{}]", Self::NAME), None)),
        }
    }
}

/// The full name of the key that was probably meant: one of this table, or the same word in
/// another.
fn near<T: Table>(name: &str, key: &str) -> Option<String> {
    let prefix = key.strip_suffix(name).unwrap_or_default();
    let here = nearest(name, T::KEYS.iter().map(|key| key.name));
    let elsewhere = || super::reference::keys_named(name).next();
    here.map(|near| format!("{prefix}{near}")).or_else(elsewhere)
}

/// Declares a [`Table`].
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])*
        $vis:vis struct $table:ident in $table_name:literal {
            $(
                $(#[doc = $doc:literal])*
                $field_vis:vis $field:ident: $type:ty = $default:expr, $kind:expr, $reload:ident;
            )*
        }
    ) => {
        $(#[doc = $table_doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $table {
            $( $(#[doc = $doc])* $field_vis $field: $type, )*
        }

        impl Default for $table {
            fn default() -> $table {
                $table { $( $field: $default, )* }
            }
        }

        impl $crate::config::table::Table for $table {
            const NAME: &'static str = $table_name;
            const DOC: &'static [&'static str] = &[$( $table_doc ),*];
            const KEYS: &'static [$crate::config::table::Key<$table>] = &[$(
                $crate::config::table::Key {
                    name: stringify!($field),
                    doc: &[$( $doc ),*],
                    reload: $crate::config::table::Reload::$reload,
                    expected: || kind::of::<$type, _>($kind).expected(),
                    show: |table| kind::of::<$type, _>($kind).show(&table.$field),
                    gloss: |table| kind::of::<$type, _>($kind).gloss(&table.$field),
                    sample: || kind::of::<$type, _>($kind).sample(),
                    read: |table, found, problems| {
                        if let Some(value) = kind::of::<$type, _>($kind).read(found, problems) {
                            table.$field = value;
                        }
                    },
                }
            ),*];
        }
    };
}

pub(super) use table;
