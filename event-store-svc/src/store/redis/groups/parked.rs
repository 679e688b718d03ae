//! What was set aside: listed, replayed, discarded.

use std::time::Duration;

use redis_link::values::{Items, array, optional_text, pairs, text, unsigned};
use redis_link::{LinkError, Value, pipe};

use super::existing;
use super::settings::GroupMeta;
use crate::error::StoreError;
use crate::model::{Name, ParkedEvent, ParkedPlace, ParkedSelection, Position, Receipt};
use crate::store::redis::entry::{entry, position};
use crate::store::redis::{RedisStore, error};
use crate::store::{Page, Result};

impl RedisStore {
    /// A page of parked events; the token is a [`ParkedPlace`].
    pub(in crate::store::redis) async fn page_of_parked(
        &self,
        topic: &Name,
        group: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ParkedEvent>> {
        self.state(topic).await?;
        let keys = self.keys(topic);
        let skip = match after.and_then(ParkedPlace::parse) {
            Some(place) => self.parked_up_to(topic, group, place).await?,
            None => 0,
        };
        let mut commands = pipe();
        commands.cmd("HGETALL").arg(keys.group_meta(group));
        commands.cmd("ZRANGE").arg(keys.group(group, "parked")).arg(skip);
        commands.arg(skip + limit as u64).arg("WITHSCORES");
        let answers = self.link.pipeline(&commands).await;
        let read = |answers| -> std::result::Result<_, LinkError> {
            let mut answers = Items::of(Value::Array(answers))?;
            let meta = GroupMeta::of(answers.next_value()?)?;
            let places = pairs(answers.next_value()?)?.into_iter().map(place);
            Ok((meta, places.collect::<std::result::Result<Vec<_>, _>>()?))
        };
        let (meta, mut places) = answers.and_then(read).map_err(|e| error::of_read(&e))?;
        let not_found = || StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() };
        let epoch = meta.ok_or_else(not_found)?.epoch;
        let more = places.len() > limit;
        places.truncate(limit);
        let next = places.last().filter(|_| more).map(ToString::to_string);

        let mut commands = pipe();
        for position in places.iter().map(|place| place.position.to_string()) {
            commands.cmd("HGET").arg(keys.group(group, "parked_info")).arg(&position);
            commands.cmd("XRANGE").arg(keys.log()).arg(&position).arg(&position);
        }
        let mut items = Vec::with_capacity(places.len());
        if !places.is_empty() {
            let details = self.link.pipeline(&commands).await.map_err(|e| error::of_read(&e))?;
            let mut details = details.into_iter();
            for ParkedPlace { position, .. } in places {
                let (info, found) = (details.next(), details.next());
                let parked = parked(
                    position,
                    info.unwrap_or(Value::Nil),
                    found.unwrap_or(Value::Nil),
                    epoch,
                );
                // Replayed or discarded meanwhile: there is no info any more.
                items.extend(parked.map_err(|e| error::of_read(&e))?);
            }
        }
        Ok(Page { items, next })
    }

    /// How many parked events there are up to a place. They are in the order of time, and those of
    /// one moment in that of their text.
    async fn parked_up_to(&self, topic: &Name, group: &Name, place: ParkedPlace) -> Result<u64> {
        let key = self.keys(topic).group(group, "parked");
        let mut commands = pipe();
        commands.cmd("ZCOUNT").arg(&key).arg("-inf").arg(format!("({}", place.at));
        commands.cmd("ZRANGE").arg(&key).arg(place.at).arg(place.at).arg("BYSCORE");
        let position = place.position.to_string();
        let read = |answers| -> std::result::Result<u64, LinkError> {
            let mut answers = Items::of(Value::Array(answers))?;
            let before = answers.next_unsigned()?;
            let mut same = 0;
            for member in array(answers.next_value()?)? {
                same += u64::from(text(member)? <= position);
            }
            Ok(before + same)
        };
        self.link.pipeline(&commands).await.and_then(read).map_err(|e| error::of_read(&e))
    }

    pub(in crate::store::redis) async fn take_parked(
        &self,
        topic: &Name,
        group: &Name,
        selection: &ParkedSelection,
        replay: bool,
    ) -> Result<u32> {
        let keys = self.keys(topic);
        let mut call = self.scripts.group_unpark.call(&keys.group_all(group));
        call.arg(group.as_str()).arg(keys.bell()).arg(0).arg(u8::from(replay));
        match selection {
            ParkedSelection::Oldest(count) => {
                call.arg(*count);
            }
            ParkedSelection::Receipts(receipts) => {
                call.arg("");
                for receipt in receipts {
                    call.arg(receipt.position.to_string());
                }
            }
        }
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        let taken =
            Items::of(existing(answer, topic, group)?).and_then(|mut items| items.next_unsigned());
        Ok(u32::try_from(taken.map_err(|e| error::of_write(&e))?).unwrap_or(u32::MAX))
    }
}

/// Reads a position and when it was parked.
fn place((member, score): (Value, Value)) -> std::result::Result<ParkedPlace, LinkError> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time in whole ms"
    )]
    let at = match score {
        Value::Double(at) => at as u64,
        other => unsigned(&other)?,
    };
    Ok(ParkedPlace { at, position: position(&member)? })
}

/// Reads "<lease> <failures> <parked at> <reason>", and the event if it is still there.
fn parked(
    position: Position,
    info: Value,
    found: Value,
    epoch: u64,
) -> std::result::Result<Option<ParkedEvent>, LinkError> {
    let Some(info) = optional_text(info)? else {
        return Ok(None);
    };
    let mut parts = info.splitn(4, ' ');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (Some(_lease), Some(failures), Some(at)) = (number(), number(), number()) else {
        return Err(LinkError::Protocol("a record of a parked event was expected"));
    };
    Ok(Some(ParkedEvent {
        position,
        event: array(found)?.into_iter().next().map(entry).transpose()?,
        delivery_count: u32::try_from(failures).unwrap_or(u32::MAX),
        reason: parts.next().unwrap_or_default().to_owned(),
        parked_at: Duration::from_millis(at),
        receipt: Receipt { position, epoch, lease: 0 },
    }))
}
