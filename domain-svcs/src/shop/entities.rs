//! What all entities have in common: create, update and delete as commands,
//! decided on the entity's own events, with the rules of each kind as a parameter.

use std::collections::BTreeSet;
use std::future::Future;

use futures::future::try_join_all;
use serde_json::{Map, Value};

use super::parse;
use crate::model::{
    self, ENTITY_ID, Entity, EventType, Violation, check_new, check_patch, to_json,
};
use crate::service::{
    Appended, Cause, Command, Commands, EventLog, Expect, Failure, Head, NewEvent, Position, Reply,
    unknown,
};

/// As many as one append takes.
const MAX_ENTITIES: usize = 1000;
/// How often a command is decided anew because somebody else was faster.
const MAX_CONFLICTS: usize = 100;

/// The rules of one kind of entity.
pub(super) trait Rules: Send + Sync + 'static {
    /// The entity.
    type Entity: Entity;

    /// The id of the entity that a command creates at this place in its list.
    /// Derived from the command, so that one that comes twice creates it once;
    /// or from what there may only be one for.
    fn id(&self, _entity: &Self::Entity, cause: &Cause, index: usize) -> String {
        cause.step(&format!("entity {index}"))
    }

    /// Puts what a client wrote into the form that is stored.
    fn prepare(&self, _fields: &mut Map<String, Value>, _cause: &Cause) {}

    /// Whether it may be created.
    fn check_new(&self, _new: &Self::Entity) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// Whether it may be changed like this.
    fn check_change(
        &self,
        _id: &str,
        _old: &Self::Entity,
        _new: &Self::Entity,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// Whether it may be deleted.
    fn check_delete(
        &self,
        _id: &str,
        _old: &Self::Entity,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }
}

/// The commands of one kind of entity.
pub(super) struct EntityCommands<R> {
    pub(super) log: EventLog,
    pub(super) rules: R,
}

impl<R: Rules> Commands for EntityCommands<R> {
    async fn handle(&self, command: &Command) -> Result<Reply, Failure> {
        let kind = R::Entity::KIND;
        match command.name.split_once('_') {
            Some(("create", name)) if name == kind.plural() => self.create(command).await,
            Some(("update", name)) if name == kind.name() => self.update(command).await,
            Some(("delete", name)) if name == kind.name() => self.delete(command).await,
            _ => Err(unknown(command)),
        }
    }
}

impl<R: Rules> EntityCommands<R> {
    fn topic(&self) -> &'static str {
        R::Entity::KIND.name()
    }

    async fn create(&self, command: &Command) -> Result<Reply, Failure> {
        let cause = &command.cause;
        let (entities, written) = self.parse_new(command)?;
        let ids: Vec<_> =
            entities.iter().enumerate().map(|(i, e)| self.rules.id(e, cause, i)).collect();
        distinct(&ids)?;
        match self.try_create(cause, &entities, &written, &ids).await {
            Ok(Some(position)) => Ok(Reply::after(ids.into(), self.topic(), Some(position))),
            // Done, or refused, because of what this very command did the first time?
            Ok(None) => match self.created(cause, &written, &ids).await? {
                Some(reply) => Ok(reply),
                None => Ok(Reply::of(ids.into())),
            },
            Err(refused) if refused.is_refusal() => {
                self.created(cause, &written, &ids).await?.ok_or(refused)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The answer to a command that came before, found by the events that it made.
    async fn created(
        &self,
        cause: &Cause,
        written: &[Map<String, Value>],
        ids: &[String],
    ) -> Result<Option<Reply>, Failure> {
        let found = ids.iter().enumerate().map(|(index, id)| async move {
            self.log.find(self.topic(), id, &create_step(cause, index)).await
        });
        let found = try_join_all(found).await?;
        let Some(Some(last)) = found.last() else {
            return Ok(None);
        };
        let says = |(found, written): (&Option<Head>, &Map<String, Value>)| {
            found.as_ref().is_none_or(|found| says(found, written))
        };
        if !std::iter::zip(&found, written).all(says) {
            return Err(another_request());
        }
        Ok(Some(Reply::after(ids.to_vec().into(), self.topic(), last.position)))
    }

    /// The entities, and of each what the client wrote.
    fn parse_new(&self, command: &Command) -> Result<Written<R::Entity>, Failure> {
        let single = std::slice::from_ref(&command.body);
        let items = command.body.as_array().map_or(single, Vec::as_slice);
        if items.is_empty() || items.len() > MAX_ENTITIES {
            return Err(Failure::invalid(vec![Violation {
                field: R::Entity::KIND.plural().to_owned(),
                description: format!("must be 1 to {MAX_ENTITIES}"),
            }]));
        }
        let mut violations = Vec::new();
        let (mut entities, mut written) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match check_new(R::Entity::KIND, item) {
                Ok(mut fields) => {
                    written.push(self.prepared(&mut fields, &command.cause));
                    entities.push(parse(R::Entity::KIND, fields.into())?);
                }
                Err(faults) if items.len() == 1 => violations.extend(faults),
                Err(faults) => violations.extend(faults.into_iter().map(|fault| Violation {
                    field: format!("[{index}].{}", fault.field),
                    ..fault
                })),
            }
        }
        if violations.is_empty() {
            Ok((entities, written))
        } else {
            Err(Failure::invalid(violations))
        }
    }

    /// Prepares fields for being stored. Answers those that stayed as they were
    /// written: the others depend on when that was.
    fn prepared(&self, fields: &mut Map<String, Value>, cause: &Cause) -> Map<String, Value> {
        let mut written = fields.clone();
        self.rules.prepare(fields, cause);
        written.retain(|name, value| fields.get(name) == Some(value));
        written
    }

    async fn try_create(
        &self,
        cause: &Cause,
        entities: &[R::Entity],
        written: &[Map<String, Value>],
        ids: &[String],
    ) -> Result<Option<Position>, Failure> {
        try_join_all(entities.iter().map(|entity| self.rules.check_new(entity))).await?;
        let mut expectations: Vec<_> = ids.iter().cloned().map(Expect::Nothing).collect();
        for _ in 0..MAX_CONFLICTS {
            let events =
                std::iter::zip(ids, entities).enumerate().map(|(index, (id, entity))| NewEvent {
                    id: create_step(cause, index),
                    kind: EventType::Created.into(),
                    subject: id.clone(),
                    data: to_json(id, entity),
                });
            let appended = self
                .log
                .append(self.topic(), cause, events.collect(), expectations.clone())
                .await?;
            if let Appended::Done(position) = appended {
                return Ok(position);
            }
            // Ids that are not derived from the command may have been in use:
            // by one that lives, or by one that was deleted and may come again.
            // Not again by a command that comes late: it made them before.
            if self.created(cause, written, ids).await?.is_some() {
                return Ok(None);
            }
            let heads = try_join_all(ids.iter().map(|id| self.log.head(self.topic(), id))).await?;
            expectations = std::iter::zip(ids, &heads)
                .map(|(id, head)| match head {
                    Some(head) if head.live().is_some() => Err(exists::<R>(id)),
                    head => Ok(Expect::head(id, head.as_ref())),
                })
                .collect::<Result<_, _>>()?;
        }
        Err(contended())
    }

    async fn update(&self, command: &Command) -> Result<Reply, Failure> {
        let id = entity_id(&command.body)?;
        let mut patch = check_patch(R::Entity::KIND, &command.body).map_err(Failure::invalid)?;
        patch.remove(ENTITY_ID);
        let written = self.prepared(&mut patch, &command.cause);
        let step = command.cause.step("update");
        for _ in 0..MAX_CONFLICTS {
            let (head, old) = self.existing(&id).await?;
            let mut fields = model::object(&to_json(&id, &old));
            fields.extend(patch.clone());
            let new: R::Entity = parse(R::Entity::KIND, fields.into())?;
            if new == old {
                return Ok(Reply::after(true.into(), self.topic(), head.position));
            }
            if let Err(failure) = self.rules.check_change(&id, &old, &new).await {
                if failure.is_refusal()
                    && let Some(reply) = self.updated(&id, &step, &written).await?
                {
                    return Ok(reply);
                }
                return Err(failure);
            }
            let event = NewEvent {
                id: step.clone(),
                kind: EventType::Updated.into(),
                subject: id.clone(),
                data: to_json(&id, &new),
            };
            let expect = vec![Expect::head(&id, Some(&head))];
            match self.log.append(self.topic(), &command.cause, vec![event], expect).await? {
                Appended::Done(None) => {
                    let known = self.updated(&id, &step, &written).await?;
                    return Ok(known.unwrap_or_else(|| Reply::of(true.into())));
                }
                Appended::Done(position) => {
                    return Ok(Reply::after(true.into(), self.topic(), position));
                }
                Appended::Conflict => {}
            }
        }
        Err(contended())
    }

    /// The answer to a change that was made before, found by its event.
    async fn updated(
        &self,
        id: &str,
        step: &str,
        written: &Map<String, Value>,
    ) -> Result<Option<Reply>, Failure> {
        let Some(event) = self.log.find(self.topic(), id, step).await? else {
            return Ok(None);
        };
        if !says(&event, written) {
            return Err(another_request());
        }
        Ok(Some(Reply::after(true.into(), self.topic(), event.position)))
    }

    async fn delete(&self, command: &Command) -> Result<Reply, Failure> {
        let id = entity_id(&command.body)?;
        let step = command.cause.step("delete");
        for _ in 0..MAX_CONFLICTS {
            let (head, old) = match self.existing(&id).await {
                Err(gone) if gone.is_refusal() => {
                    let known = self.log.find(self.topic(), &id, &step).await?;
                    let done =
                        |event: Head| Reply::after(true.into(), self.topic(), event.position);
                    return known.map(done).ok_or(gone);
                }
                existing => existing?,
            };
            self.rules.check_delete(&id, &old).await?;
            let event = NewEvent {
                id: step.clone(),
                kind: EventType::Deleted.into(),
                subject: id.clone(),
                data: to_json(&id, &old),
            };
            let expect = vec![Expect::head(&id, Some(&head))];
            if let Appended::Done(position) =
                self.log.append(self.topic(), &command.cause, vec![event], expect).await?
            {
                return Ok(Reply::after(true.into(), self.topic(), position));
            }
        }
        Err(contended())
    }

    async fn existing(&self, id: &str) -> Result<(Head, R::Entity), Failure> {
        let head = self.log.head(self.topic(), id).await?;
        let not_found = || Failure::not_found(R::Entity::KIND.name(), id);
        let head = head.ok_or_else(not_found)?;
        let state = head.live().cloned().ok_or_else(not_found)?;
        Ok((head, parse(R::Entity::KIND, state)?))
    }
}

/// Entities, and of each what the client wrote.
type Written<E> = (Vec<E>, Vec<Map<String, Value>>);

/// Whether an event has these fields.
fn says(event: &Head, written: &Map<String, Value>) -> bool {
    written.iter().all(|(field, value)| event.data.get(field) == Some(value))
}

fn create_step(cause: &Cause, index: usize) -> String {
    cause.step(&format!("create {index}"))
}

fn entity_id(body: &Value) -> Result<String, Failure> {
    match body.get(ENTITY_ID).and_then(Value::as_str) {
        Some(id) if !id.is_empty() && id.len() <= 256 && !id.chars().any(char::is_control) => {
            Ok(id.to_owned())
        }
        _ => Err(Failure::invalid(vec![Violation {
            field: ENTITY_ID.to_owned(),
            description: "must be the id of an entity".to_owned(),
        }])),
    }
}

fn distinct(ids: &[String]) -> Result<(), Failure> {
    if ids.iter().collect::<BTreeSet<_>>().len() == ids.len() {
        return Ok(());
    }
    Err(Failure::conflict("ALREADY_EXISTS", "two of these are for the same thing"))
}

fn exists<R: Rules>(id: &str) -> Failure {
    let message = format!("there is one already: {} {id}", R::Entity::KIND.name());
    Failure::conflict("ALREADY_EXISTS", message)
}

/// The command was carried out before, and said something else then.
fn another_request() -> Failure {
    Failure::conflict(
        "IDEMPOTENCY_KEY_REUSED",
        "the idempotency key was used for another request before",
    )
}

/// Others changed the entity each time; they will be done when this comes again.
fn contended() -> Failure {
    Failure::Transient("the entity changes too quickly".to_owned())
}
