// Package filter evaluates the QueryFilter of the platform API: simple
// expressions on the properties of an object, joined by and and or.
package filter

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"valence/cloud/platform/codec"
)

// Type is the type of a property, which determines how it compares.
type Type int

// The types of properties.
const (
	Text Type = iota // compares without regard to case
	Number
	Bool
	Time
)

// Operator is the operator of a simple expression.
type Operator string

// The operators.
const (
	Equals             Operator = "EQUALS"
	NotEquals          Operator = "NOT_EQUALS"
	Like               Operator = "LIKE"
	StartsWith         Operator = "STARTS_WITH"
	Contains           Operator = "CONTAINS"
	NotContains        Operator = "NOT_CONTAINS"
	Between            Operator = "BETWEEN"
	GreaterThan        Operator = "GREATER_THAN"
	GreaterThanOrEqual Operator = "GREATER_THAN_OR_EQUAL"
	LessThan           Operator = "LESS_THAN"
	LessThanOrEqual    Operator = "LESS_THAN_OR_EQUAL"
	IsNull             Operator = "IS_NULL"
	IsNotNull          Operator = "IS_NOT_NULL"
)

// arguments is the number of arguments of each operator.
var arguments = map[Operator]int{
	Equals: 1, NotEquals: 1, Like: 1, StartsWith: 1, Contains: 1, NotContains: 1, Between: 2,
	GreaterThan: 1, GreaterThanOrEqual: 1, LessThan: 1, LessThanOrEqual: 1, IsNull: 0, IsNotNull: 0,
}

// Operators returns every operator, for the description of the API.
func Operators() []Operator {
	return []Operator{Equals, NotEquals, Like, StartsWith, Contains, NotContains, Between, GreaterThan,
		GreaterThanOrEqual, LessThan, LessThanOrEqual, IsNull, IsNotNull}
}

// Limits of a filter.
const (
	MaxDepth       = 16
	MaxExpressions = 500
	MaxArgument    = 4096
)

// Expression is a filter, or a part of one.
type Expression struct {
	Any    bool         // of a group: one of Nested suffices
	Nested []Expression // of a group

	Property  string
	Operator  Operator
	Arguments []string
	typ       Type
}

// Filter is a complete filter. The zero value matches everything.
type Filter struct{ Expression *Expression }

// Parse parses the body of a query. properties are the filterable properties.
// Its errors are meant for API clients.
func Parse(body *codec.Node, properties map[string]Type) (Filter, error) {
	q := body.Get("QueryFilter")
	if q == nil && body.Has("expression") { // XML clients also send <QueryFilter> as the root
		q = body
	}
	n := q.Get("expression")
	if n == nil || (!n.Has("operator") && !n.Has("property") && !n.Has("nestedExpression")) {
		return Filter{}, nil
	}
	p := parser{properties: properties}
	e, err := p.parse(n, 1)
	if err != nil {
		return Filter{}, err
	}
	return Filter{&e}, nil
}

type parser struct {
	properties map[string]Type
	count      int
}

func (p *parser) parse(n *codec.Node, depth int) (Expression, error) {
	if p.count++; p.count > MaxExpressions || depth > MaxDepth {
		return Expression{}, fmt.Errorf("the filter has more than %d expressions or is nested deeper than %d", MaxExpressions, MaxDepth)
	}
	op := n.String("operator")
	nested := n.All("nestedExpression")
	if len(nested) == 0 && n.Has("property") {
		return p.simple(n, Operator(strings.ToUpper(op)))
	}
	e := Expression{}
	switch strings.ToLower(op) {
	case "and":
	case "or":
		e.Any = true
	default:
		return e, fmt.Errorf("the operator %q does not join expressions: use and, or", op)
	}
	if len(nested) == 0 {
		return e, fmt.Errorf("the operator %q needs a nestedExpression", op)
	}
	for _, k := range nested {
		kid, err := p.parse(k, depth+1)
		if err != nil {
			return e, err
		}
		e.Nested = append(e.Nested, kid)
	}
	return e, nil
}

func (p *parser) simple(n *codec.Node, op Operator) (Expression, error) {
	name := n.String("property")
	e := Expression{Property: name, Operator: op, Arguments: n.Strings("argument")}
	var ok bool
	if e.typ, ok = p.properties[name]; !ok {
		return e, fmt.Errorf("no filterable property %q", name)
	}
	want, ok := arguments[op]
	if !ok {
		return e, fmt.Errorf("no operator %q", op)
	}
	if want == 0 {
		e.Arguments = nil // clients send an empty one
	}
	if len(e.Arguments) != want {
		return e, fmt.Errorf("the operator %s of %q needs %d arguments, got %d", op, name, want, len(e.Arguments))
	}
	for _, a := range e.Arguments {
		if len(a) > MaxArgument {
			return e, fmt.Errorf("an argument of %q is longer than %d bytes", name, MaxArgument)
		}
		switch op {
		case Like, StartsWith, Contains, NotContains:
			continue // these compare text, whatever the type
		}
		if _, ok := key(a, e.typ); !ok {
			return e, fmt.Errorf("the argument %q of %q is not %s", a, name, e.typ)
		}
	}
	return e, nil
}

// String returns the name of a type with its article.
func (t Type) String() string {
	return [...]string{"a string", "a number", "true or false", "a time such as 2026-01-31T15:32:00Z"}[t]
}

// Match reports whether an object matches. value returns a property's text, and
// false if the object has none.
func (f Filter) Match(value func(property string) (string, bool)) bool {
	return f.Expression == nil || f.Expression.match(value)
}

func (e *Expression) match(value func(string) (string, bool)) bool {
	if e.Operator == "" {
		for i := range e.Nested {
			if e.Nested[i].match(value) == e.Any {
				return e.Any
			}
		}
		return !e.Any
	}
	have, ok := value(e.Property)
	switch e.Operator {
	case IsNull:
		return !ok
	case IsNotNull:
		return ok
	case NotEquals, NotContains:
		if !ok {
			return true
		}
	default:
		if !ok {
			return false
		}
	}
	switch e.Operator {
	case Like:
		return like(strings.ToLower(e.Arguments[0]), strings.ToLower(have))
	case StartsWith:
		return strings.HasPrefix(strings.ToLower(have), strings.ToLower(e.Arguments[0]))
	case Contains:
		return strings.Contains(strings.ToLower(have), strings.ToLower(e.Arguments[0]))
	case NotContains:
		return !strings.Contains(strings.ToLower(have), strings.ToLower(e.Arguments[0]))
	}
	c := func(i int) int { return compare(have, e.Arguments[i], e.typ) }
	switch e.Operator {
	case Equals:
		return c(0) == 0
	case NotEquals:
		return c(0) != 0
	case Between:
		return c(0) >= 0 && c(1) <= 0
	case GreaterThan:
		return c(0) > 0
	case GreaterThanOrEqual:
		return c(0) >= 0
	case LessThan:
		return c(0) < 0
	}
	return c(0) <= 0 // LessThanOrEqual, the last
}

// like matches a pattern in which % stands for any text. It searches each piece
// after the previous match, so a pattern cannot cause backtracking.
func like(pattern, s string) bool {
	pieces := strings.Split(pattern, "%")
	last := len(pieces) - 1
	if last == 0 {
		return pattern == s
	}
	s, begins := strings.CutPrefix(s, pieces[0])
	s, ends := strings.CutSuffix(s, pieces[last])
	if !begins || !ends {
		return false
	}
	for _, piece := range pieces[1:last] {
		at := strings.Index(s, piece)
		if at < 0 {
			return false
		}
		s = s[at+len(piece):]
	}
	return true
}

// sortKey is a value in its comparable form.
type sortKey struct {
	text   string
	number float64
	at     time.Time
}

func key(s string, t Type) (sortKey, bool) {
	switch t {
	case Number:
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return sortKey{number: f}, err == nil
	case Bool:
		b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(s)))
		return sortKey{text: strconv.FormatBool(b)}, err == nil
	case Time:
		at, ok := ParseTime(s)
		return sortKey{at: at}, ok
	}
	return sortKey{text: strings.ToLower(s)}, true
}

func compare(have, want string, t Type) int {
	a, _ := key(have, t)
	b, _ := key(want, t)
	switch t {
	case Number:
		return cmp.Compare(a.number, b.number)
	case Time:
		return a.at.Compare(b.at)
	}
	return strings.Compare(a.text, b.text)
}

// ParseTime parses a time in the formats that clients use: with and without
// fractions, offset and time of day.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// Bounds returns the range that a filter allows for a time property; an open end
// is zero. A store uses it to read less. Match still decides.
func (f Filter) Bounds(property string) (from, to time.Time) {
	if f.Expression != nil {
		f.Expression.bounds(property, &from, &to)
	}
	return from, to
}

func (e *Expression) bounds(property string, from, to *time.Time) {
	if e.Operator == "" {
		if e.Any && len(e.Nested) > 1 {
			return
		}
		for i := range e.Nested {
			e.Nested[i].bounds(property, from, to)
		}
		return
	}
	if e.Property != property || e.typ != Time {
		return
	}
	at := func(i int) time.Time { t, _ := ParseTime(e.Arguments[i]); return t }
	low := func(t time.Time) {
		if from.IsZero() || t.After(*from) {
			*from = t
		}
	}
	high := func(t time.Time) {
		if to.IsZero() || t.Before(*to) {
			*to = t
		}
	}
	switch e.Operator {
	case Equals:
		low(at(0))
		high(at(0))
	case Between:
		low(at(0))
		high(at(1))
	case GreaterThan, GreaterThanOrEqual:
		low(at(0))
	case LessThan, LessThanOrEqual:
		high(at(0))
	}
}

// Exact returns the only value that a filter allows for a text property, if
// there is one.
func (f Filter) Exact(property string) (string, bool) {
	if f.Expression == nil {
		return "", false
	}
	return f.Expression.exact(property)
}

func (e *Expression) exact(property string) (string, bool) {
	if e.Operator != "" {
		if e.Property == property && e.Operator == Equals {
			return e.Arguments[0], true
		}
		return "", false
	}
	if e.Any && len(e.Nested) > 1 {
		return "", false
	}
	for i := range e.Nested {
		if v, ok := e.Nested[i].exact(property); ok {
			return v, true
		}
	}
	return "", false
}
