//! A token that was accepted once is remembered; it must not be accepted for longer than it is good.

use claimsmith_tests::eventually;

use crate::range::{Attack, Range, now};

impl Range {
    /// The status of a callout with this token, whose line is in the log.
    async fn status(&self, extension: &str, token: &str) -> u16 {
        let mark = self.platform.host.log_mark();
        let request = self.request("contoso", extension, &[format!("Bearer {token}")]);
        let response = request.json(&self.platform.body()).send().await.unwrap();
        self.platform.host.callout_line(mark).await;
        response.status().as_u16()
    }

    async fn is_refused_at_last(&self, extension: &str, token: &str, outcome: &str) {
        eventually("the token is refused", async || {
            self.status(extension, token).await == 401
        })
        .await;
        let refused = |line: &serde_json::Value| line["status"] == 401;
        let line = self.platform.host.log_line("the refusal", refused).await;
        assert_eq!(line["outcome"], outcome);
        assert_eq!(self.status(extension, token).await, 401, "it stays refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn until_it_expires() {
    let range = Range::start().await;
    let token = range.mint(&range.good().claim("exp", now(3)));
    for _ in 0..2 {
        assert_eq!(range.status("exact", &token).await, 200);
    }
    range.is_refused_at_last("exact", &token, "token_expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_its_key_is_taken_back() {
    let range = Range::start_with("token.refresh_interval = \"200ms\"").await;
    let token = range.mint(&range.good());
    for _ in 0..2 {
        assert_eq!(range.status("claims", &token).await, 200);
    }
    range.directory().roll_keys(true).await.unwrap();
    range.is_refused_at_last("claims", &token, "token_unknown_key").await;
    let fresh = range.mint(&range.good());
    assert_eq!(range.status("claims", &fresh).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_key_is_published_beside_a_new_one() {
    let range = Range::start_with("token.refresh_interval = \"200ms\"").await;
    let token = range.mint(&range.good());
    assert_eq!(range.status("claims", &token).await, 200);
    range.directory().roll_keys(false).await.unwrap();
    let loaded = |line: &serde_json::Value| {
        line["message"] == "signing keys loaded" && line["keys"].as_str().is_some_and(|keys| keys.contains(','))
    };
    range.platform.host.log_line("both keys", loaded).await;
    assert_eq!(range.status("claims", &token).await, 200);
}

/// One extension's memory is not another's.
#[tokio::test(flavor = "multi_thread")]
async fn by_the_extension_that_accepted_it_alone() {
    let range = Range::start().await;
    let token = range.mint(&range.good());
    assert_eq!(range.status("claims", &token).await, 200);
    let attacks = [
        Attack::new("another extension", &token, "token_audience").at("contoso", "other"),
        Attack::new("another tenant", &token, "token_issuer").at("fabrikam", "claims"),
        Attack::new("with a character more", format!("{token}A"), "token_signature"),
    ];
    range.refuses(&attacks).await;
}
