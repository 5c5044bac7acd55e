package expression

import (
	"errors"
	"math/big"
	"slices"
	"strings"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// numberFunctions compute and convert. Halves are rounded away from zero.
var numberFunctions = []*Function{
	{
		Name: "abs", Usage: "abs(number)",
		Doc:     "The number without its sign.",
		Example: `abs(-12.5)`,
		args:    "n", result: TypeNumber, call: abs,
	},
	{
		Name: "floor", Usage: "floor(number[, digits])",
		Doc:     "The number rounded down to an integer, or to the given number of decimal places.",
		Example: `floor(-12.345, 1)`,
		args:    "n?n", result: TypeNumber, call: rounded(exact.Down),
	},
	{
		Name: "ceil", Usage: "ceil(number[, digits])",
		Doc:     "The number rounded up to an integer, or to the given number of decimal places.",
		Example: `ceil(12.345, 1)`,
		args:    "n?n", result: TypeNumber, call: rounded(exact.Up),
	},
	{
		Name: "round", Usage: "round(number[, digits])",
		Doc:     "The number rounded to the nearest integer, or to the given number of decimal places. Halves are rounded away from zero.",
		Example: `round(2.345, 2)`,
		args:    "n?n", result: TypeNumber, call: rounded(exact.HalfAway),
	},
	{
		Name: "min", Usage: "min(number, …) or min(list)",
		Doc:     "The smallest number, or nil for an empty list.",
		Example: `min(doc.items[0].price, 3)`,
		args:    "v", anyCount: true, result: TypeNumber, call: extreme(-1),
	},
	{
		Name: "max", Usage: "max(number, …) or max(list)",
		Doc:     "The largest number, or nil for an empty list.",
		Example: `max(map(doc.items, .price))`,
		args:    "v", anyCount: true, result: TypeNumber, call: extreme(1),
	},
	{
		Name: "mean", Usage: "mean(list)",
		Doc:     "The arithmetic mean of the numbers.",
		Example: `mean([1, 2, 6])`,
		args:    "l", result: TypeNumber, call: mean,
	},
	{
		Name: "median", Usage: "median(list)",
		Doc:     "The middle number, or the mean of the two middle numbers.",
		Example: `median([1, 2, 6, 7])`,
		args:    "l", result: TypeNumber, call: median,
	},
	{
		Name: "number", Usage: "number(value)",
		Doc:     "A number, or text converted to a number.",
		Example: `number("0012.50")`,
		args:    "v", result: TypeNumber, call: toNumber,
	},
	{Name: "float", Usage: "number(value)", args: "v", result: TypeNumber, alias: true, call: toNumber},
	{
		Name: "int", Usage: "int(value)",
		Doc:     "A number, or text converted to a number, without its decimal places.",
		Example: `int("12.9")`,
		args:    "v", result: TypeNumber, call: toInteger,
	},
	{
		Name: "string", Usage: "string(value)",
		Doc:     "Text: numbers as their digits, lists and objects as JSON.",
		Example: `string(doc.total)`,
		args:    "v", result: TypeText, call: toText,
	},
	{
		Name: "bool", Usage: "bool(value)",
		Doc:     `A boolean, or the text "true" or "false" converted to a boolean.`,
		Example: `bool("true")`,
		args:    "v", result: TypeBoolean, call: toBoolean,
	},
	{
		Name: "type", Usage: "type(value)",
		Doc:     "The type: null, boolean, number, text, list or object.",
		Example: `type(doc.items)`,
		args:    "*", result: TypeText, call: typeName,
	},
}

func abs(c *call) (any, error) {
	n, err := c.num(0)
	if err == nil && n.Sign() < 0 {
		n, err = exact.Negate(n)
	}
	return n.Text(), err
}

func rounded(how exact.Mode) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		n, err := c.num(0)
		if err != nil {
			return nil, err
		}
		digits := 0
		if c.has(1) {
			if digits, err = c.integer(1); err != nil {
				return nil, err
			}
		}
		if n, err = exact.Round(n, int64(digits), how); err != nil {
			return nil, err
		}
		return n.Text(), c.m.charge(c.site, n, n)
	}
}

// numbers returns the arguments, or the elements of a single list argument, as
// numbers.
func (c *call) numbers() ([]exact.Number, error) {
	list := c.args
	if len(list) == 1 {
		if l, ok, err := c.m.list(c.site, list[0]); ok || err != nil {
			if err != nil {
				return nil, err
			}
			list = l
		}
	}
	if err := c.m.spend(c.site, int64(len(list))); err != nil {
		return nil, err
	}
	if err := c.m.alloc(c.site, 24*int64(len(list))); err != nil {
		return nil, err
	}
	out := make([]exact.Number, len(list))
	for i, v := range list {
		n, err := toNum(c.site, v)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// extreme returns the smallest (sign -1) or largest (sign 1) number, and nil
// for an empty list.
func extreme(sign int) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		list, err := c.numbers()
		if err != nil || len(list) == 0 {
			return nil, err
		}
		best := list[0]
		for _, n := range list[1:] {
			if exact.Compare(n, best)*sign > 0 {
				best = n
			}
		}
		return best.Text(), nil
	}
}

func mean(c *call) (any, error) {
	list, err := c.numbers()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, c.fail("an empty list has no mean")
	}
	total := exact.Int(0)
	for _, n := range list {
		if total, err = c.m.arithmetic(c.site, total, n, exact.Add); err != nil {
			return nil, err
		}
	}
	n, err := c.m.arithmetic(c.site, total, exact.Int(int64(len(list))), exact.Div)
	return n.Text(), err
}

func median(c *call) (any, error) {
	list, err := c.numbers()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, c.fail("an empty list has no median")
	}
	if err := c.m.spend(c.site, 4*int64(len(list))); err != nil {
		return nil, err
	}
	slices.SortFunc(list, exact.Compare)
	mid := list[len(list)/2]
	if len(list)%2 == 0 {
		if mid, err = c.m.arithmetic(c.site, mid, list[len(list)/2-1], exact.Add); err == nil {
			mid, err = c.m.arithmetic(c.site, mid, exact.Int(2), exact.Div)
		}
	}
	return mid.Text(), err
}

func toNumber(c *call) (any, error) {
	switch v := c.args[0].(type) {
	case document.Number:
		return v, nil
	case string:
		if err := c.m.read(c.site, len(v)); err != nil {
			return nil, err
		}
		n, err := decimalText(strings.TrimSpace(v))
		if err != nil {
			return nil, c.fail("the text is not a number such as -12.50")
		}
		return n, nil
	}
	return nil, c.fail("only text can be converted to a number, not %s", article(TypeOf(c.args[0])))
}

func toInteger(c *call) (any, error) {
	v, err := toNumber(c)
	if err != nil {
		return nil, err
	}
	n, err := toNum(c.site, v)
	if err != nil {
		return nil, err
	}
	if n, err = exact.Round(n, 0, exact.TowardsZero); err != nil {
		return nil, err
	}
	return n.Text(), c.m.charge(c.site, n, n)
}

// decimalText parses a number as people and other systems write it: a plus sign
// and leading zeros are dropped, a missing zero is added.
func decimalText(s string) (document.Number, error) {
	bad := errors.New("not a number")
	rest, plus := strings.CutPrefix(s, "+")
	rest, minus := strings.CutPrefix(rest, "-")
	if plus && minus {
		return "", bad
	}
	mantissa, exponent := rest, ""
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		mantissa, exponent = rest[:i], rest[i:]
		digits := exponent[1:]
		if digits != "" && (digits[0] == '+' || digits[0] == '-') {
			digits = digits[1:]
		}
		if !isDigits(digits) {
			return "", bad
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if !isDigits(whole + fraction) {
		return "", bad
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if minus {
		whole = "-" + whole
	}
	return document.Number(whole + exponent), nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// literalNumber parses a number literal: decimal or with the prefix 0x, 0o or
// 0b, and with underscores between digits.
func literalNumber(s string) (document.Number, error) {
	s = strings.ReplaceAll(strings.TrimSpace(s), "_", "")
	if len(s) > 2 && s[0] == '0' && strings.ContainsRune("xXoObB", rune(s[1])) {
		n, ok := new(big.Int).SetString(s, 0)
		if !ok {
			return "", errors.New("this is not a number")
		}
		return document.Number(n.String()), nil
	}
	n, err := decimalText(s)
	if err != nil {
		return "", errors.New("this is not a number")
	}
	if _, err := exact.Parse(string(n)); err != nil {
		return "", err
	}
	return n, nil
}

func toText(c *call) (any, error) {
	if s, err := Text(c.args[0]); err == nil {
		return s, nil
	}
	return c.json(c.args[0])
}

func toBoolean(c *call) (any, error) {
	switch v := c.args[0]; v {
	case true, "true":
		return true, nil
	case false, "false":
		return false, nil
	}
	return nil, c.fail(`only the text "true" or "false" can be converted to a boolean`)
}

func typeName(c *call) (any, error) { return TypeOf(c.args[0]).String(), nil }
