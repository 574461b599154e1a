//! Where a component keeps its plugin between calls.
//!
//! A component instance *is* the configured plugin: WIT exports plain
//! functions, so the state lives in a thread-local of the plugin's crate,
//! which the export macros declare.

use std::cell::RefCell;

/// The state of an instance; empty until it is configured.
#[derive(Debug)]
pub struct Slot<T>(RefCell<Option<T>>);

impl<T> Slot<T> {
    /// Holds nothing yet.
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }

    /// Puts `value` in place of what was there.
    pub fn set(&self, value: T) {
        *self.0.borrow_mut() = Some(value);
    }

    /// Runs `with` on what is there; `make` fills an empty slot first.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<R, E>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
        with: impl FnOnce(&mut T) -> R,
    ) -> Result<R, E> {
        let mut slot = self.0.borrow_mut();
        if slot.is_none() {
            *slot = Some(make()?);
        }
        Ok(with(slot.as_mut().expect("filled above")))
    }

    /// Runs `with` on what is there, if anything is.
    pub fn get<R>(&self, with: impl FnOnce(Option<&mut T>) -> R) -> R {
        with(self.0.borrow_mut().as_mut())
    }
}

/// Implemented by the export macros: gives the generated bindings' traits
/// access to the plugin crate's slot.
pub trait Holder: 'static {
    /// What the slot holds.
    type Plugin: 'static;

    /// Runs `with` on the slot.
    fn slot<R>(with: impl FnOnce(&Slot<Self::Plugin>) -> R) -> R;
}

/// What the four export macros have in common.
///
/// A crate of type `cdylib` that exports a component's names doesn't link
/// natively, so nothing is exported there; natively only the trait bound is
/// checked, which gives the same error messages in `cargo check`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($bindings:ident, $plugin:ty, $bound:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$plugin> =
                    const { $crate::__private::Slot::empty() };
            }

            struct Component;

            impl $crate::__private::Holder for Component {
                type Plugin = $plugin;

                fn slot<R>(with: impl FnOnce(&$crate::__private::Slot<$plugin>) -> R) -> R {
                    SLOT.with(with)
                }
            }

            $crate::__private::bindings::$bindings::export!(
                Component with_types_in $crate::__private::bindings::$bindings
            );
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_plugin<T: $bound>() {}
            is_a_plugin::<$plugin>();
        };
    };
}
