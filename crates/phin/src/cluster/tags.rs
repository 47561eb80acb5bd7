//! Tags and the serving state of this node.

use phin_swim::{ServingState, Tags};

use crate::{Cluster, SetTagError, Stopped};

/// Tags and serving state of this node.
///
/// The first change is announced at once. Those within a protocol period of it are announced together at its end, so
/// [`Cluster::members`] may have a change that much later. Nothing is kept for the next start of the node.
impl Cluster {
    /// The tags of this node, as last set.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn tags(&self) -> Result<Tags, Stopped> {
        self.ask(|node, _| node.swim().profile().tags).await
    }

    /// Replaces all tags of this node.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn set_tags(&self, tags: Tags) -> Result<(), Stopped> {
        self.edit_tags(|present| *present = tags).await
    }

    /// Sets one tag of this node and keeps the others. Changes that several callers make at once all take place.
    ///
    /// # Errors
    /// The tag is not allowed, or the tags would exceed a limit with it ([`Tags`]); or the node has been shut down.
    pub async fn set_tag(&self, key: &str, value: &str) -> Result<(), SetTagError> {
        self.change_tags([(key, Some(value))]).await.map(drop)
    }

    /// Removes one tag of this node and keeps the others. Returns its value, or `None` if there was no such tag.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn remove_tag(&self, key: &str) -> Result<Option<String>, Stopped> {
        let key = key.to_owned();
        self.edit_tags(move |tags| tags.remove(&key)).await
    }

    /// Changes several tags of this node together: a value sets a tag, and `None` removes it. Tags that are not mentioned
    /// stay. Returns all tags after the change.
    ///
    /// ```
    /// # async fn change(cluster: phin::Cluster) -> Result<(), phin::SetTagError> {
    /// cluster.change_tags([("version", Some("1.8.2")), ("canary", None)]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A tag is not allowed, or the tags would exceed a limit ([`Tags`]): then none is changed. Or the node has been shut
    /// down.
    pub async fn change_tags<K: Into<String>, V: Into<String>>(
        &self,
        changes: impl IntoIterator<Item = (K, Option<V>)>,
    ) -> Result<Tags, SetTagError> {
        let changes = changes.into_iter().map(|(key, value)| (key.into(), value.map(Into::into)));
        let changes: Vec<(String, Option<String>)> = changes.collect();
        let changed = self.edit_tags(move |tags| {
            let mut changed = tags.clone();
            // First everything that makes room.
            for (key, _) in &changes {
                changed.remove(key);
            }
            for (key, value) in &changes {
                if let Some(value) = value {
                    changed.set(key, value)?;
                }
            }
            tags.clone_from(&changed);
            Ok(changed)
        });
        changed.await?
    }

    /// Whether this node takes work, as last set.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn serving(&self) -> Result<ServingState, Stopped> {
        self.ask(|node, _| node.swim().profile().serving).await
    }

    /// Announces whether this node takes work. It stays alive for all others, whatever it says.
    ///
    /// # Errors
    /// The node has been shut down.
    pub async fn set_serving(&self, serving: ServingState) -> Result<(), Stopped> {
        self.ask(move |node, now| {
            node.swim().describe(now, |profile| profile.serving = serving);
            node.settle();
        })
        .await
    }

    /// Reads the tags, changes them and sets them as one input of the protocol: nobody changes them in between.
    async fn edit_tags<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Tags) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(move |node, now| {
            let mut tags = node.swim().profile().tags;
            let result = edit(&mut tags);
            node.swim().describe(now, |profile| profile.tags = tags);
            node.settle();
            result
        })
        .await
    }
}
