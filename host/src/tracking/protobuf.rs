//! Messages in protocol buffers' wire format, written by hand: the few that TensorBoard and
//! Weights & Biases read are small, and a generator would bring a compiler along.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// A message under way: fields in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    fn varint_raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire_type: u8) {
        self.varint_raw(u64::from(field) << 3 | u64::from(wire_type));
    }

    /// An integer that is not negative, a bool or an enum.
    #[must_use]
    pub fn varint(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.varint_raw(value);
        self
    }

    #[must_use]
    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    #[must_use]
    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    #[must_use]
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint_raw(value.len() as u64);
        self.0.extend(value);
        self
    }

    #[must_use]
    pub fn string(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    #[must_use]
    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// A packed list.
    #[must_use]
    pub fn doubles(self, field: u32, values: &[f64]) -> Self {
        let packed: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.bytes(field, &packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's own guide.
    #[test]
    fn messages_of_the_guide() {
        let check = |message: Message, expected: &[u8]| assert_eq!(message.encoded(), expected);
        check(Message::new().varint(1, 150), &[0x08, 0x96, 0x01]);
        check(
            Message::new().string(2, "testing"),
            &[0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67],
        );
        check(
            Message::new().message(3, &Message::new().varint(1, 150)),
            &[0x1a, 0x03, 0x08, 0x96, 0x01],
        );
        check(
            Message::new().float(16, 1.0),
            &[0x85, 0x01, 0, 0, 0x80, 0x3f],
        );
    }
}
