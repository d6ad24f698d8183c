//! A message as AMQP carries it.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::super::BrokerError;
use crate::wire::{CONTENT_TYPE, Headers, Message, SCHEMA};

/// `delivery_mode` of a message that goes to disk.
const PERSISTENT: u8 = 2;

/// A name in AMQP's short form, of at most 255 bytes.
pub(super) fn short(text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text).map_err(|_| {
        let start: String = text.chars().take(40).collect();
        BrokerError::Internal(format!("the name '{start}...' is longer than AMQP's 255 bytes"))
    })
}

/// What the broker itself counts in a message's headers, by version.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// The properties that a message travels with.
pub(super) fn write(message: &Message, persistent: bool) -> Result<BasicProperties, BrokerError> {
    let mut table = FieldTable::default();
    for (name, value) in &message.headers {
        let number = if name == SCHEMA { value.parse::<i32>().ok() } else { None };
        let value = match number {
            Some(number) => AMQPValue::LongInt(number),
            None => AMQPValue::LongString(value.as_str().into()),
        };
        table.insert(short(name)?, value);
    }
    let properties = BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_type(short(&message.kind)?)
        .with_headers(table);
    Ok(if persistent { properties.with_delivery_mode(PERSISTENT) } else { properties })
}

/// The message in a delivery, without what the broker counted on its way. Headers of types that
/// we never write are passed over.
pub(super) fn read(delivery: lapin::message::Delivery) -> Message {
    let kind = delivery.properties.kind().as_ref().map_or_else(String::new, ToString::to_string);
    let headers = delivery.properties.headers().as_ref().map_or_else(Headers::new, |table| {
        table
            .into_iter()
            .filter(|(name, _)| !COUNTS.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
            .collect()
    });
    Message { kind, headers, body: delivery.data }
}

fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Timestamp(value) => value.to_string(),
        _ => return None,
    })
}
