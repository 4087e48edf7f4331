//! The shop's twelve services and the pods that run them.

use otlp::model::{KeyValue, Resource};
use rand::Rng as _;
use rand::rngs::StdRng;

/// A service. The order is that of [`Service::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// What browsers talk to.
    Frontend,
    /// Carts in Redis.
    Cart,
    /// Places orders.
    Checkout,
    /// Charges cards at an acquirer.
    Payment,
    /// Converts prices.
    Currency,
    /// Products in PostgreSQL.
    Catalog,
    /// Suggests products.
    Recommendation,
    /// Quotes and ships.
    Shipping,
    /// Sends confirmations.
    Email,
    /// Chooses advertisements.
    Ads,
    /// Stock in MySQL.
    Inventory,
    /// Scores orders.
    Fraud,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 12] = [
        Self::Frontend,
        Self::Cart,
        Self::Checkout,
        Self::Payment,
        Self::Currency,
        Self::Catalog,
        Self::Recommendation,
        Self::Shipping,
        Self::Email,
        Self::Ads,
        Self::Inventory,
        Self::Fraud,
    ];

    /// `service.name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Cart => "cart",
            Self::Checkout => "checkout",
            Self::Payment => "payment",
            Self::Currency => "currency",
            Self::Catalog => "catalog",
            Self::Recommendation => "recommendation",
            Self::Shipping => "shipping",
            Self::Email => "email",
            Self::Ads => "ads",
            Self::Inventory => "inventory",
            Self::Fraud => "fraud",
        }
    }

    /// `telemetry.sdk.language`: a shop grows in many languages.
    pub const fn language(self) -> &'static str {
        match self {
            Self::Frontend | Self::Email => "nodejs",
            Self::Cart => "dotnet",
            Self::Checkout | Self::Catalog => "go",
            Self::Payment | Self::Ads | Self::Fraud => "java",
            Self::Currency => "cpp",
            Self::Recommendation => "python",
            Self::Shipping => "rust",
            Self::Inventory => "php",
        }
    }

    /// Version that runs; a bad deploy shows as another one.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Frontend => "5.12.3",
            Self::Cart => "2.4.0",
            Self::Checkout => "3.1.7",
            Self::Payment => "4.0.2",
            Self::Currency => "1.9.1",
            Self::Catalog => "2.8.5",
            Self::Recommendation => "0.14.0",
            Self::Shipping => "1.3.3",
            Self::Email => "1.1.0",
            Self::Ads => "2.0.6",
            Self::Inventory => "3.5.2",
            Self::Fraud => "0.9.4",
        }
    }

    /// The fully qualified name of its gRPC service.
    pub const fn rpc(self) -> &'static str {
        match self {
            Self::Frontend => "shop.v1.FrontendService",
            Self::Cart => "shop.v1.CartService",
            Self::Checkout => "shop.v1.CheckoutService",
            Self::Payment => "shop.v1.PaymentService",
            Self::Currency => "shop.v1.CurrencyService",
            Self::Catalog => "shop.v1.ProductCatalogService",
            Self::Recommendation => "shop.v1.RecommendationService",
            Self::Shipping => "shop.v1.ShippingService",
            Self::Email => "shop.v1.EmailService",
            Self::Ads => "shop.v1.AdService",
            Self::Inventory => "shop.v1.InventoryService",
            Self::Fraud => "shop.v1.FraudService",
        }
    }

    const fn replicas(self) -> usize {
        match self {
            Self::Frontend => 3,
            Self::Cart | Self::Checkout | Self::Catalog | Self::Inventory => 2,
            _ => 1,
        }
    }
}

/// One running process.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Which service it runs.
    pub service: Service,
    /// Its address in the cluster.
    pub address: String,
    /// Its OTLP resource.
    pub resource: Resource,
}

/// Every pod, service by service.
pub fn pods(random: &mut StdRng) -> Vec<Pod> {
    let replicas = |service: Service| std::iter::repeat_n(service, service.replicas());
    Service::ALL
        .into_iter()
        .flat_map(replicas)
        .enumerate()
        .map(|(index, service)| pod(index, service, random))
        .collect()
}

fn pod(index: usize, service: Service, random: &mut StdRng) -> Pod {
    let set: u32 = random.random();
    let own: u32 = random.random_range(0..0x10_0000);
    let name = format!("{}-{set:08x}-{own:05x}", service.name());
    let address = format!("10.42.{}.{}", index % 3, 10 + index);
    let instance: u128 = random.random();
    let attributes = vec![
        KeyValue::new("service.name", service.name()),
        KeyValue::new("service.namespace", "shop"),
        KeyValue::new("service.version", service.version()),
        KeyValue::new("service.instance.id", uuid(instance)),
        KeyValue::new("deployment.environment.name", "demo"),
        KeyValue::new("k8s.namespace.name", "shop"),
        KeyValue::new("k8s.deployment.name", service.name()),
        KeyValue::new("k8s.pod.name", name.clone()),
        KeyValue::new("k8s.node.name", format!("node-{}", index % 3 + 1)),
        KeyValue::new("host.name", name),
        KeyValue::new("process.pid", 1),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        KeyValue::new("telemetry.sdk.language", service.language()),
        KeyValue::new("telemetry.sdk.version", "1.30.0"),
    ];
    Pod {
        service,
        address,
        resource: Resource {
            attributes,
            ..Resource::default()
        },
    }
}

/// `bits` as the text of a UUID of version 4 (RFC 9562, section 5.4).
pub fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
