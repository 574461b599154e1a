//! Names that a component gives with every number.

use std::borrow::Cow;

use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};

/// A string that is compared and forgotten: a short one takes no memory of its own.
pub enum Name {
    Short {
        bytes: [u8; Self::SHORT],
        length: u8,
    },
    Long(Box<str>),
}

impl Name {
    /// Bytes of a short one, at most.
    const SHORT: usize = 30;

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, length } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    /// Whether it is this one.
    pub fn is(&self, name: &str) -> bool {
        self.bytes() == name.as_bytes()
    }

    /// For messages. What is no UTF-8 is shown as such, and no name of ours.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// A short one at this address.
    fn short(context: &mut LiftContext<'_>, address: usize, length: usize) -> Option<Self> {
        if !matches!(context.options().string_encoding, StringEncoding::Utf8) {
            return None;
        }
        let given = context.memory().get(address..)?.get(..length)?;
        let mut bytes = [0; Self::SHORT];
        bytes.get_mut(..length)?.copy_from_slice(given);
        context.consume_fuel(length).ok()?;
        Some(Self::Short {
            bytes,
            length: length as u8,
        })
    }
}

// SAFETY: all is as a string has it.
#[allow(
    unsafe_code,
    reason = "wasmtime's traits for types of components are unsafe"
)]
unsafe impl ComponentType for Name {
    type Lower = <str as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <str as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        str::typecheck(ty, types)
    }
}

// SAFETY: all is as a string has it, but for short ones, which are read within the guest's memory.
#[allow(
    unsafe_code,
    reason = "wasmtime's traits for types of components are unsafe"
)]
unsafe impl Lift for Name {
    fn linear_lift_from_flat(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        flat: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        Box::linear_lift_from_flat(context, ty, flat).map(Self::Long)
    }

    fn linear_lift_from_memory(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        if let (Some(address), Some(length)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let [address, length] =
                [address, length].map(|word| u32::from_le_bytes(*word) as usize);
            if let Some(short) = Self::short(context, address, length) {
                return Ok(short);
            }
        }
        // What is wrong with it is said there, too.
        Box::linear_lift_from_memory(context, ty, bytes).map(Self::Long)
    }
}
