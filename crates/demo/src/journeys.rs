//! What customers do, as the services' code: each function is one request of a browser.

mod calls;
mod services;

use otlp::model::{KeyValue, SeverityNumber, SpanKind};

use crate::context::{Failure, Label, Outcome, Request};
use crate::shop::Service;

/// Browsers, as `user_agent.original`.
const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile Safari/604.1",
    "shop-android/9.2.0 (Android 15; Pixel 9)",
];
/// Currencies that customers pay in.
const CURRENCIES: [&str; 6] = ["EUR", "USD", "EUR", "GBP", "USD", "JPY"];
/// What the shop sells.
pub(crate) const PRODUCTS: [&str; 12] = [
    "OLJCESPC7Z",
    "66VCHSJNUP",
    "1YMWWN1N4O",
    "L9ECAV7KIM",
    "2ZYFJ3GM2N",
    "0PUK6V6EV0",
    "LS4PSXUNUM",
    "9SIQT8TOJO",
    "6E92ZMYYFZ",
    "HQTGWGPNH4",
    "8FGQ3KX2PT",
    "V4TCRN7D0W",
];

/// Who comes and what they want.
pub(crate) struct Visit {
    /// `user.id`.
    pub user: String,
    /// `session.id`.
    pub session: String,
    /// ISO 4217 code.
    pub currency: &'static str,
    /// The product they look at.
    pub product: &'static str,
}

/// Some customer does something: mostly looking, seldom buying. How it ends is in the telemetry.
pub fn any(request: &mut Request<'_>) {
    let user = request.below(2_000);
    let visit = Visit {
        user: format!("user-{user}"),
        session: format!("{:016x}", request.bits() as u64),
        currency: CURRENCIES[user as usize % CURRENCIES.len()],
        product: PRODUCTS[request.below(PRODUCTS.len() as u64) as usize],
    };
    // A failure ends at the customer, who sees the error page: nothing is left to do with it here.
    let _ = match request.below(100) {
        0..38 => page(request, &visit, "GET", "/", "/".to_owned(), front),
        38..68 => page(
            request,
            &visit,
            "GET",
            "/product/{id}",
            format!("/product/{}", visit.product),
            product,
        ),
        68..82 => page(request, &visit, "POST", "/cart", "/cart".to_owned(), add_to_cart),
        82..90 => page(request, &visit, "GET", "/cart", "/cart".to_owned(), view_cart),
        90..97 => page(
            request,
            &visit,
            "POST",
            "/cart/checkout",
            "/cart/checkout".to_owned(),
            checkout,
        ),
        _ => page(
            request,
            &visit,
            "GET",
            "/orders/{id}/tracking",
            format!("/orders/{user}/tracking"),
            tracking,
        ),
    };
}

/// A request of a browser at the frontend.
fn page(
    request: &mut Request<'_>,
    visit: &Visit,
    method: &'static str,
    route: &'static str,
    path: String,
    body: impl FnOnce(&mut Request<'_>, &Visit) -> Outcome,
) -> Outcome {
    let pod = request.pod_of(Service::Frontend);
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("url.path", path.clone()),
        KeyValue::new("url.scheme", "https"),
        KeyValue::new("server.address", "shop.example.com"),
        KeyValue::new("server.port", 443),
        KeyValue::new("network.protocol.version", "2"),
        KeyValue::new("client.address", format!("198.51.100.{}", request.below(250))),
        KeyValue::new(
            "user_agent.original",
            BROWSERS[request.below(BROWSERS.len() as u64) as usize],
        ),
        KeyValue::new("user.id", visit.user.clone()),
        KeyValue::new("session.id", visit.session.clone()),
    ];
    request.span(
        pod,
        SpanKind::SERVER,
        format!("{method} {route}"),
        attributes,
        |request| {
            request.work(1.5);
            let outcome = body(request, visit);
            render(request, route);
            let status = outcome.as_ref().map_or_else(|failure| failure.http, |()| 200);
            request.set("http.response.status_code", status);
            request.observe(
                "http.server.request.duration",
                vec![
                    ("http.request.method", Label::Text(method.to_owned())),
                    ("http.route", Label::Text(route.to_owned())),
                    ("http.response.status_code", Label::Int(status)),
                    ("url.scheme", Label::Text("https".to_owned())),
                ],
            );
            match &outcome {
                Ok(()) => request.log(
                    SeverityNumber::INFO,
                    format!("{method} {path} answered {status}"),
                    vec![
                        KeyValue::new("http.route", route),
                        KeyValue::new("user.id", visit.user.clone()),
                    ],
                ),
                Err(failure) => request.log(
                    SeverityNumber::ERROR,
                    format!("{method} {path} failed with {status}: {}", failure.message),
                    vec![
                        KeyValue::new("http.route", route),
                        KeyValue::new("error.type", failure.kind),
                    ],
                ),
            }
            outcome
        },
    )
}

/// Rendering the answer, good or bad.
fn render(request: &mut Request<'_>, route: &str) {
    let here = request.here();
    let attributes = vec![
        KeyValue::new("code.function.name", "renderPage"),
        KeyValue::new("app.template", route),
    ];
    // Rendering cannot fail.
    let _ = request.span(here, SpanKind::INTERNAL, "render".to_owned(), attributes, |request| {
        request.work(3.0);
        Ok(())
    });
}

fn front(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    request.together(&[
        &|request| services::list_products(request),
        &|request| {
            optional(request, "recommendations", |request| {
                services::recommendations(request, visit)
            })
        },
        &|request| optional(request, "ads", |request| services::ads(request, visit)),
        &|request| services::convert(request, visit),
    ])
}

fn product(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    services::get_product(request, visit.product)?;
    request.together(&[
        &|request| services::stock(request, visit.product),
        &|request| services::convert(request, visit),
        &|request| {
            optional(request, "recommendations", |request| {
                services::recommendations(request, visit)
            })
        },
        &|request| optional(request, "ads", |request| services::ads(request, visit)),
    ])
}

fn add_to_cart(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    services::get_product(request, visit.product)?;
    services::stock(request, visit.product)?;
    services::cart(request, visit, "AddItem")
}

fn view_cart(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    services::cart(request, visit, "GetCart")?;
    request.together(&[
        &|request| services::get_product(request, visit.product),
        &|request| services::quote(request, visit),
        &|request| services::convert(request, visit),
    ])
}

fn checkout(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    services::place_order(request, visit)
}

fn tracking(request: &mut Request<'_>, visit: &Visit) -> Outcome {
    if request.chance(0.04) {
        let message = format!("no shipment of {} is on its way", visit.user);
        return Err(Failure {
            http: 404,
            ..Failure::precondition("ShipmentNotFound", message)
        });
    }
    services::track(request, visit)
}

/// Something that a page can do without: a failure is logged and left out.
fn optional(request: &mut Request<'_>, what: &str, body: impl FnOnce(&mut Request<'_>) -> Outcome) -> Outcome {
    if let Err(failure) = body(request) {
        request.log(
            SeverityNumber::WARN,
            format!("showing the page without {what}: {}", failure.message),
            vec![KeyValue::new("error.type", failure.kind)],
        );
    }
    Ok(())
}
