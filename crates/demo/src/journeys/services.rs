//! What each service does when it is called, and how the incidents show there.

use otlp::model::{KeyValue, SeverityNumber};

use super::Visit;
use super::calls::{Statement, consume, database, external, http, publish, rpc};
use crate::context::{Failure, Outcome, Request};
use crate::incident::Incident;
use crate::shop::Service;

/// Where orders are announced.
const ORDERS: &str = "orders";

fn fine(_: &mut Request<'_>) -> Outcome {
    Ok(())
}

fn statement(
    system: &'static str,
    operation: &'static str,
    collection: &'static str,
    text: &'static str,
    median: f64,
) -> Statement {
    Statement {
        system,
        operation,
        collection,
        text,
        median,
    }
}

/// Catalog: the products of the front page.
pub fn list_products(request: &mut Request<'_>) -> Outcome {
    rpc(request, Service::Catalog, "ListProducts", |request| {
        let text = "SELECT id, name, price_units, price_nanos, picture FROM products ORDER BY popularity DESC LIMIT $1";
        database(request, &statement("postgresql", "SELECT", "products", text, 2.4), fine)
    })
}

/// Catalog: one product.
pub fn get_product(request: &mut Request<'_>, product: &str) -> Outcome {
    rpc(request, Service::Catalog, "GetProduct", |request| {
        request.set("app.product.id", product);
        let text = "SELECT id, name, description, price_units, price_nanos FROM products WHERE id = $1";
        database(request, &statement("postgresql", "SELECT", "products", text, 0.9), fine)?;
        if request.chance(0.004) {
            return Err(Failure::precondition(
                "ProductNotFound",
                format!("there is no product {product}"),
            ));
        }
        Ok(())
    })
}

/// Inventory: is it there?
pub fn stock(request: &mut Request<'_>, product: &str) -> Outcome {
    let slow = request.suffers(Incident::SlowInventoryDatabase);
    rpc(request, Service::Inventory, "GetStock", |request| {
        request.set("app.product.id", product);
        let text = "SELECT warehouse_id, quantity FROM stock WHERE product_id = ? AND reserved_until < NOW()";
        let median = if slow { 900.0 } else { 1.6 };
        let outcome = database(
            request,
            &statement("mysql", "SELECT", "stock", text, median),
            |request| {
                if slow && request.chance(0.15) {
                    return Err(Failure::timeout("query on stock cancelled after 2000 ms"));
                }
                Ok(())
            },
        );
        if slow {
            request.log(
                SeverityNumber::WARN,
                format!("slow query on table stock for product {product}: full scan of 4812337 rows"),
                vec![
                    KeyValue::new("db.collection.name", "stock"),
                    KeyValue::new("app.product.id", product),
                ],
            );
        }
        outcome
    })
}

/// Recommendation: from the cache, or computed.
pub fn recommendations(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    let down = request.suffers(Incident::RecommendationCacheDown);
    rpc(request, Service::Recommendation, "ListRecommendations", |request| {
        let cached = database(
            request,
            &statement("redis", "GET", "recommendations", "GET rec:?", 0.5),
            |request| {
                if down {
                    request.work(180.0);
                    return Err(Failure::unavailable("connection to redis:6379 refused"));
                }
                Ok(())
            },
        );
        let hit = cached.is_ok() && request.chance(0.85);
        request.set("app.cache.hit", hit);
        if hit {
            return Ok(());
        }
        request.event(
            "cache.miss",
            vec![KeyValue::new("cache.key", format!("rec:{}", visit.user))],
        );
        if down {
            request.log(
                SeverityNumber::ERROR,
                "recommendation cache is unreachable, computing without it".to_owned(),
                vec![KeyValue::new("server.address", "redis.shop.svc.cluster.local")],
            );
            if request.chance(0.3) {
                return Err(Failure::timeout("no recommendations within 500 ms"));
            }
        }
        list_products(request)?;
        request.work(14.0);
        Ok(())
    })
}

/// Ads: a banner.
pub fn ads(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    rpc(request, Service::Ads, "GetAds", |request| {
        request.set(
            "app.ads.category",
            if visit.user.ends_with('7') {
                "outdoor"
            } else {
                "kitchen"
            },
        );
        request.work(1.8);
        if request.chance(0.003) {
            return Err(Failure::unavailable("the advertisement exchange did not bid"));
        }
        Ok(())
    })
}

/// Currency: a conversion.
pub fn convert(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    let bad = request.suffers(Incident::CurrencyBadDeploy) && visit.currency == "JPY";
    rpc(request, Service::Currency, "Convert", |request| {
        request.set("app.currency.from", "EUR");
        request.set("app.currency.to", visit.currency);
        request.work(0.3);
        if bad {
            request.log(
                SeverityNumber::ERROR,
                "conversion to JPY failed: currency without minor units is not supported since 1.10.0".to_owned(),
                vec![KeyValue::new("app.currency.to", "JPY")],
            );
            return Err(Failure::internal(
                "ArithmeticException",
                "division by zero minor units for JPY",
            ));
        }
        Ok(())
    })
}

/// Cart: one of its methods, over Redis.
pub fn cart(request: &mut Request<'_>, visit: &Visit, method: &'static str) -> Outcome {
    let failing = request.suffers(Incident::CartCrashLoop) && request.chance(0.33);
    rpc(request, Service::Cart, method, |request| {
        if failing {
            request.log(
                SeverityNumber::ERROR,
                "received SIGTERM while serving, closing connections".to_owned(),
                vec![KeyValue::new("rpc.method", method)],
            );
            return Err(Failure::unavailable("connection closed: the cart pod is terminating"));
        }
        request.set("user.id", visit.user.as_str());
        let (operation, text) = match method {
            "AddItem" => ("HSET", "HSET cart:? ? ?"),
            "EmptyCart" => ("DEL", "DEL cart:?"),
            _ => ("HGETALL", "HGETALL cart:?"),
        };
        database(request, &statement("redis", operation, "cart", text, 0.6), fine)?;
        request.log(
            SeverityNumber::DEBUG,
            format!("{method} for {} done", visit.user),
            vec![KeyValue::new("user.id", visit.user.as_str())],
        );
        Ok(())
    })
}

/// Shipping: what it would cost.
pub fn quote(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    http(
        request,
        Service::Shipping,
        "POST",
        "/quotes",
        "/quotes".to_owned(),
        |request| {
            request.set("user.id", visit.user.as_str());
            request.work(2.2);
            Ok(())
        },
    )
}

/// Shipping: where the parcel is.
pub fn track(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    let path = format!("/shipments/{}", visit.session);
    http(request, Service::Shipping, "GET", "/shipments/{id}", path, |request| {
        external(request, "GET", "api.carrier.example", "/v2/parcels", |request| {
            request.work(45.0);
            if request.chance(0.01) {
                return Err(Failure::unavailable("the carrier answered 503"));
            }
            Ok(())
        })
    })
}

fn ship(request: &mut Request<'_>) -> Outcome {
    http(
        request,
        Service::Shipping,
        "POST",
        "/shipments",
        "/shipments".to_owned(),
        |request| {
            let text = "INSERT INTO shipments (id, order_id, address, created_at) VALUES ($1, $2, $3, now())";
            database(
                request,
                &statement("postgresql", "INSERT", "shipments", text, 2.1),
                fine,
            )
        },
    )
}

fn charge(request: &mut Request<'_>, visit: &Visit, cents: u64) -> Outcome {
    let away = request.suffers(Incident::AcquirerTimeouts);
    rpc(request, Service::Payment, "Charge", |request| {
        request.set("app.payment.amount", cents as f64 / 100.0);
        request.set("app.payment.currency", visit.currency);
        request.set(
            "app.payment.card_type",
            if cents.is_multiple_of(3) { "visa" } else { "mastercard" },
        );
        let charged = external(request, "POST", "api.acquirer.example", "/v1/charges", |request| {
            if away && request.chance(0.7) {
                request.work(2_900.0);
                return Err(Failure::timeout("the acquirer did not answer within 3000 ms"));
            }
            request.work(75.0);
            Ok(())
        });
        if let Err(failure) = charged {
            request.log(
                SeverityNumber::ERROR,
                format!(
                    "charging {:.2} {} failed: {}",
                    cents as f64 / 100.0,
                    visit.currency,
                    failure.message
                ),
                vec![
                    KeyValue::new("user.id", visit.user.as_str()),
                    KeyValue::new("error.type", failure.kind),
                ],
            );
            return Err(failure);
        }
        if request.chance(0.02) {
            request.log(
                SeverityNumber::WARN,
                format!("card of {} was declined: insufficient funds", visit.user),
                vec![KeyValue::new("user.id", visit.user.as_str())],
            );
            return Err(Failure {
                http: 402,
                ..Failure::precondition("CardDeclined", "insufficient funds")
            });
        }
        let text = "INSERT INTO charges (id, order_id, amount, currency, acquirer_ref) VALUES ($1, $2, $3, $4, $5)";
        database(request, &statement("postgresql", "INSERT", "charges", text, 1.9), fine)
    })
}

fn score(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    rpc(request, Service::Fraud, "ScoreOrder", |request| {
        let text = "SELECT feature, value FROM signals WHERE user_id = $1";
        database(request, &statement("postgresql", "SELECT", "signals", text, 1.4), fine)?;
        request.work(6.0);
        let score = request.below(1000) as f64 / 1000.0;
        request.set("app.fraud.score", score);
        if score > 0.992 {
            request.log(
                SeverityNumber::WARN,
                format!("order of {} rejected with fraud score {score}", visit.user),
                vec![
                    KeyValue::new("user.id", visit.user.as_str()),
                    KeyValue::new("app.fraud.score", score),
                ],
            );
            return Err(Failure {
                http: 403,
                ..Failure::precondition("OrderRejected", "the fraud score is too high")
            });
        }
        Ok(())
    })
}

/// Checkout: the whole order, and what follows from it.
pub fn place_order(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    rpc(request, Service::Checkout, "PlaceOrder", |request| {
        let order = crate::shop::uuid(request.bits());
        let cents = 900 + request.below(24_000);
        request.set("app.order.id", order.as_str());
        let items = 1 + request.below(6) as i64;
        request.set("app.order.items.count", items);
        cart(request, visit, "GetCart")?;
        request.together(&[
            &|request| get_product(request, visit.product),
            &|request| quote(request, visit),
            &|request| convert(request, visit),
            &|request| stock(request, visit.product),
        ])?;
        score(request, visit)?;
        charge(request, visit, cents)?;
        ship(request)?;
        cart(request, visit, "EmptyCart")?;
        request.order(cents);
        let text = "INSERT INTO orders (id, user_id, total, currency, placed_at) VALUES ($1, $2, $3, $4, now())";
        database(request, &statement("postgresql", "INSERT", "orders", text, 2.6), fine)?;
        let producer = publish(request, ORDERS);
        request.log(
            SeverityNumber::INFO,
            format!(
                "order {order} of {} placed for {:.2} {}",
                visit.user,
                cents as f64 / 100.0,
                visit.currency
            ),
            vec![
                KeyValue::new("app.order.id", order.as_str()),
                KeyValue::new("user.id", visit.user.as_str()),
            ],
        );
        follow_up(request, visit, &order, producer);
        Ok(())
    })
}

/// What consumers of the order do while the customer has long been answered.
fn follow_up(request: &mut Request<'_>, visit: &Visit, order: &str, producer: Option<otlp::model::SpanId>) {
    // Nobody waits for consumers: what fails there is in their own spans and logs.
    let _ = request.aside(&[
        &|request| {
            consume(request, Service::Email, ORDERS, producer, |request| {
                request.work(4.0);
                let sent = external(request, "POST", "api.mail.example", "/v3/send", |request| {
                    request.work(60.0);
                    if request.chance(0.01) {
                        Err(Failure::unavailable("the mail gateway answered 503"))
                    } else {
                        Ok(())
                    }
                });
                let (severity, what) = match &sent {
                    Ok(()) => (SeverityNumber::INFO, "confirmation sent"),
                    Err(_) => (SeverityNumber::ERROR, "confirmation could not be sent, will retry"),
                };
                request.log(
                    severity,
                    format!("{what} to {} for order {order}", visit.user),
                    vec![KeyValue::new("app.order.id", order)],
                );
                sent
            })
        },
        &|request| {
            consume(request, Service::Inventory, ORDERS, producer, |request| {
                let text = "UPDATE stock SET quantity = quantity - ? WHERE product_id = ? AND warehouse_id = ?";
                database(request, &statement("mysql", "UPDATE", "stock", text, 2.8), fine)
            })
        },
    ]);
}
