//! Strings and lists that are handed to a component as they lie.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// A string or list that costs no call of the guest's allocator where it is empty, as half of a
/// sample's are. The guest is given the address that its allocator has for nothing.
pub(super) struct Lent<'a, T: ?Sized>(pub &'a T);

/// What a guest takes for an address and a length.
pub(super) trait Pieces {
    /// Alignment of a piece in the guest's memory, which is also the address of none.
    const ALIGN: u8;

    fn is_empty(&self) -> bool;
}

impl Pieces for str {
    const ALIGN: u8 = 1;

    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }
}

impl<T: ComponentType> Pieces for [T] {
    const ALIGN: u8 = T::ALIGN32 as u8;

    fn is_empty(&self) -> bool {
        <[T]>::is_empty(self)
    }
}

// SAFETY: all is as the lent type has it.
#[allow(
    unsafe_code,
    reason = "wasmtime's traits for types of components are unsafe"
)]
unsafe impl<T: ComponentType + ?Sized> ComponentType for Lent<'_, T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: all is as the lent type has it, but for an empty one in memory, of which the guest reads
// an address, aligned as it must be, and a length of 0.
#[allow(
    unsafe_code,
    reason = "wasmtime's traits for types of components are unsafe"
)]
unsafe impl<T: Lower + Pieces + ?Sized> Lower for Lent<'_, T> {
    fn linear_lower_to_flat<S>(
        &self,
        context: &mut LowerContext<'_, S>,
        ty: InterfaceType,
        flat: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        self.0.linear_lower_to_flat(context, ty, flat)
    }

    fn linear_lower_to_memory<S>(
        &self,
        context: &mut LowerContext<'_, S>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        if self.0.is_empty() {
            *context.get(offset) = [T::ALIGN, 0, 0, 0, 0, 0, 0, 0];
            return Ok(());
        }
        self.0.linear_lower_to_memory(context, ty, offset)
    }
}
