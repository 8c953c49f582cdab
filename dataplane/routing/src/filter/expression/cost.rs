//! What an expression can cost: a bound from its form and from the size of the body that it looks into. Pure.

use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};

use super::data::Size;

/// What there is to know of an expression for a bound on its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Whether it looks into the body at all.
    pub(super) reads_data: bool,
    /// How often it names a value; each time it may look at all of the body.
    names: u64,
    /// How many of those are in comprehensions and look at more than the item.
    repeated: u64,
    /// How many steps the comprehensions take for one item each.
    steps: u64,
    /// The most items of a list or map that the expression writes down.
    items: u64,
    /// How often it joins text or lists; each time copies what was joined before.
    joins: u64,
}

/// The most work for one event. A unit is a value or 32 bytes looked at, 10 to 50 ns, so that this is five milliseconds at
/// the worst.
const MAX_WORK: u64 = 100_000;

/// How often an expression may join, or add: the form does not tell which.
const MAX_JOINS: u64 = 8;

/// What expressions can call. The standard functions but those on time and patterns.
const FUNCTIONS: [&str; 12] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

// === impl Cost ===

impl Cost {
    /// What an expression can cost, or what in it is not evaluated here.
    pub(super) fn of(expression: &IdedExpr) -> Result<Self, String> {
        let mut walk = Walk { cost: Self::default(), scope: Vec::new(), inside: false };
        walk.expression(&expression.expr)?;
        Ok(walk.cost)
    }

    /// Whether evaluating over a body of this size is certain to be short.
    pub(super) fn allows(&self, size: Size) -> bool {
        let weight = size.nodes + size.bytes / 32;
        let longest = size.longest.max(self.items);
        // What is done for each item may copy what it names.
        let looks = self.names + longest.saturating_mul(3 * self.repeated);
        let work = weight
            .saturating_mul(looks)
            .saturating_mul(1 + self.joins)
            .saturating_add(longest.saturating_mul(self.steps));
        size.is_readable && work <= MAX_WORK
    }
}

struct Walk<'a> {
    cost: Cost,
    /// The names that comprehensions give to their items and results.
    scope: Vec<&'a str>,
    /// Whether this is done once for each item.
    inside: bool,
}

impl<'a> Walk<'a> {
    fn expression(&mut self, expression: &'a Expr) -> Result<(), String> {
        self.cost.steps += u64::from(self.inside);
        match expression {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.expression(&select.operand.expr),
            Expr::List(list) => {
                self.cost.items = self.cost.items.max(list.elements.len() as u64);
                self.all(&list.elements)
            }
            Expr::Map(map) => {
                self.cost.items = self.cost.items.max(map.entries.len() as u64);
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.expression(&entry.key.expr)?;
                        self.expression(&entry.value.expr)
                    }
                    EntryExpr::StructField(field) => self.expression(&field.value.expr),
                })
            }
            Expr::Call(call) => {
                self.call(call)?;
                call.target.iter().try_for_each(|target| self.expression(&target.expr))?;
                self.all(&call.args)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) | Expr::Unspecified => {
                Err("there are no types to make values of here".to_owned())
            }
        }
    }

    fn all(&mut self, expressions: &'a [IdedExpr]) -> Result<(), String> {
        expressions.iter().try_for_each(|one| self.expression(&one.expr))
    }

    fn name(&mut self, name: &'a str) -> Result<(), String> {
        let is_own = self.scope.contains(&name);
        match name {
            _ if is_own => {}
            "data" => self.cost.reads_data = true,
            "event" => {}
            _ if TYPES.contains(&name) => {}
            _ => return Err(format!("there is no {name} here; an expression knows event and data")),
        }
        self.cost.names += 1;
        self.cost.repeated += u64::from(self.inside && !is_own);
        Ok(())
    }

    fn call(&mut self, call: &CallExpr) -> Result<(), String> {
        let function = call.func_name.as_str();
        // What `map` and `filter` add to their result, nobody wrote, and it copies nothing.
        let to_result = matches!(call.args.first(), Some(first) if is_result(&first.expr));
        // Operators are what no name can be: `_&&_`, `@in`.
        if function == operators::ADD && !to_result {
            self.cost.joins += 1;
            if self.cost.joins > MAX_JOINS {
                return Err(format!("there are more than {MAX_JOINS} additions"));
            }
        }
        if function.starts_with(|c: char| c.is_ascii_alphabetic()) && !FUNCTIONS.contains(&function) {
            return Err(format!("there is no function {function} here; there are {}", FUNCTIONS.join(", ")));
        }
        Ok(())
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Result<(), String> {
        if self.inside {
            return Err("a comprehension is inside another one".to_owned());
        }
        self.expression(&comprehension.iter_range.expr)?;
        self.expression(&comprehension.accu_init.expr)?;
        let before = self.scope.len();
        self.scope.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
        self.scope.extend(comprehension.iter_var2.as_deref());
        self.inside = true;
        self.expression(&comprehension.loop_cond.expr)?;
        self.expression(&comprehension.loop_step.expr)?;
        self.inside = false;
        self.expression(&comprehension.result.expr)?;
        self.scope.truncate(before);
        Ok(())
    }
}

/// Whether this is what a comprehension gathers; no name that somebody writes begins so.
fn is_result(expression: &Expr) -> bool {
    matches!(expression, Expr::Ident(name) if name.starts_with('@'))
}
