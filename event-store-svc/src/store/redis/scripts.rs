//! The scripts, each a file of its own under `scripts/`.

use redis_link::Script;

/// All scripts of the event store.
#[derive(Debug)]
pub struct Scripts {
    /// `append.lua`
    pub append: Script,
    /// `locate.lua`
    pub locate: Script,
    /// `read_subject.lua`
    pub read_subject: Script,
    /// `save_snapshot.lua`
    pub save_snapshot: Script,
    /// `trim.lua`
    pub trim: Script,
    /// `topic_create.lua`
    pub topic_create: Script,
    /// `update_settings.lua`
    pub update_settings: Script,
    /// `group_create.lua`
    pub group_create: Script,
    /// `group_reset.lua`
    pub group_reset: Script,
    /// `group_delete.lua`
    pub group_delete: Script,
    /// `group_oldest.lua`
    pub group_oldest: Script,
    /// `group_prune.lua`
    pub group_prune: Script,
    /// `group_common.lua` and `group_deliver.lua`
    pub group_deliver: Script,
    /// `group_common.lua` and `group_settle.lua`
    pub group_settle: Script,
    /// `group_common.lua` and `group_unpark.lua`
    pub group_unpark: Script,
}

macro_rules! script {
    ($name:literal) => {
        Script::new($name, include_str!(concat!("scripts/", $name, ".lua")))
    };
}

/// A script of consumer groups: they share a beginning, and run on a full Redis too.
macro_rules! group_script {
    ($name:literal) => {
        Script::new(
            $name,
            concat!(
                "#!lua flags=allow-oom\n",
                include_str!("scripts/group_common.lua"),
                include_str!(concat!("scripts/", $name, ".lua"))
            ),
        )
    };
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            append: script!("append"),
            locate: script!("locate"),
            read_subject: script!("read_subject"),
            save_snapshot: script!("save_snapshot"),
            trim: script!("trim"),
            topic_create: script!("topic_create"),
            update_settings: script!("update_settings"),
            group_create: script!("group_create"),
            group_reset: script!("group_reset"),
            group_delete: script!("group_delete"),
            group_oldest: script!("group_oldest"),
            group_prune: script!("group_prune"),
            group_deliver: group_script!("group_deliver"),
            group_settle: group_script!("group_settle"),
            group_unpark: group_script!("group_unpark"),
        }
    }
}
