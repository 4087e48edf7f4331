//! Dotted attribute names in SQL.
//!
//! `http.request.method`, quoted or not, is not a column but means one: `attr.http.request.method`, or the resource's or
//! scope's of that name. This pass over the parsed statement writes the column for the name, before planning.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, VisitMut, visit_expressions_mut};
use schema::columns::{ATTRIBUTE_PREFIX, RESOURCE_PREFIX, SCOPE_PREFIX};

/// Replaces names in a statement or an expression that are attributes of one of the `columns` by the column's name.
pub(crate) fn resolve_attributes(sql: &mut impl VisitMut, columns: &HashSet<String>) {
    let _ = visit_expressions_mut(sql, |expr| {
        let column = match expr {
            Expr::Identifier(name) => find(&name.value, columns),
            Expr::CompoundIdentifier(parts) => {
                let dotted = parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(".");
                // `s.http.route` with a table alias: try without its first part too.
                let behind = dotted
                    .split_once('.')
                    .map(|(first, rest)| (first.to_owned(), rest.to_owned()));
                if columns.contains(&dotted) {
                    Some(dotted)
                } else {
                    find(&dotted, columns).or_else(|| {
                        let (table, rest) = behind?;
                        let column = if columns.contains(&rest) && rest.contains('.') {
                            Some(rest)
                        } else {
                            find(&rest, columns)
                        }?;
                        *expr = Expr::CompoundIdentifier(vec![Ident::new(table), Ident::with_quote('"', column)]);
                        None
                    })
                }
            }
            _ => None,
        };
        if let Some(column) = column {
            *expr = Expr::Identifier(Ident::with_quote('"', column));
        }
        ControlFlow::<()>::Continue(())
    });
}

/// The column that an attribute's name stands for; `None` if the name is a column itself or nothing known.
fn find(name: &str, columns: &HashSet<String>) -> Option<String> {
    if columns.contains(name) || columns.contains(&name.to_ascii_lowercase()) {
        return None;
    }
    let candidates = [ATTRIBUTE_PREFIX, RESOURCE_PREFIX, SCOPE_PREFIX].map(|prefix| format!("{prefix}{name}"));
    candidates.into_iter().find(|candidate| columns.contains(candidate))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn writes_the_column_for_the_name() {
        let columns = [
            "name",
            "attr.http.request.method",
            "resource.k8s.pod.name",
            "attr.account",
            "value",
        ];
        let columns = columns.into_iter().map(str::to_owned).collect();
        for (given, expected) in [
            (
                "SELECT http.request.method FROM spans",
                "SELECT \"attr.http.request.method\" FROM spans",
            ),
            (
                "SELECT \"http.request.method\" FROM spans",
                "SELECT \"attr.http.request.method\" FROM spans",
            ),
            (
                "SELECT attr.http.request.method FROM spans",
                "SELECT \"attr.http.request.method\" FROM spans",
            ),
            (
                "SELECT name FROM spans WHERE k8s.pod.name = 'a' AND account = 'b'",
                "SELECT name FROM spans WHERE \"resource.k8s.pod.name\" = 'a' AND \"attr.account\" = 'b'",
            ),
            (
                "SELECT s.http.request.method, s.name FROM spans AS s",
                "SELECT s.\"attr.http.request.method\", s.name FROM spans AS s",
            ),
            (
                "SELECT spans.name, unknown.thing FROM spans",
                "SELECT spans.name, unknown.thing FROM spans",
            ),
        ] {
            let mut statement = Parser::parse_sql(&GenericDialect {}, given).unwrap().remove(0);
            resolve_attributes(&mut statement, &columns);
            assert_eq!(statement.to_string(), expected);
        }
    }
}
