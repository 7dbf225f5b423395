//! What `listUsers` promises.

use futures::future::join_all;

use crate::support::{CreateAnswer, Service, User, fresh_id};

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let service = Service::start();
    service.call(async |users| {
        let create = |i: usize| {
            let users = users.clone();
            async move {
                users
                    .create(&fresh_id(), &format!("u{i}@b.io"), &"é".repeat(200))
                    .await
            }
        };
        let mut created: Vec<User> = join_all((0..230).map(create))
            .await
            .into_iter()
            .map(|created| {
                if let CreateAnswer::New(user) = created {
                    user
                } else {
                    panic!()
                }
            })
            .collect();
        created.sort_by(|a, b| a.id.cmp(&b.id));
        for size in [1, 7, 100] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (page, next) = users.list(size, &token).await.unwrap();
                assert!(page.len() == size as usize || next.is_empty());
                seen.extend(page);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, created, "pages of {size}");
        }
    });
}
