package spec

import (
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Decoder decodes settings of one file and reports all of their problems.
type Decoder struct {
	File     string
	Compiler Compiler
	Report   func(*fault.Problem)
	// Dynamic allows expressions that are evaluated later. They are skipped,
	// and everything else is checked.
	Dynamic bool
	// Partial allows required keys of the outermost map to be missing, and sets
	// no defaults.
	Partial bool

	within   []string
	short    *yaml.Node // the last value that stands for a map
	shortKey string     // its key in the file
	fails    int
	lax      bool // at run time, numbers and booleans may be used as strings
}

// Fails returns the number of errors reported so far.
func (d *Decoder) Fails() int { return d.fails }

// Within returns the keys of the nested maps that are being decoded.
func (d *Decoder) Within() []string { return d.within }

// Pos returns the position of a node.
func (d *Decoder) Pos(n *yaml.Node) fault.Pos {
	return fault.Pos{File: d.File, Line: n.Line, Col: n.Column}
}

// Written returns the key of a value as it is in the file. key is that of its
// field, which differs if the value stands for a map with only this key.
func (d *Decoder) Written(n *yaml.Node, key string) string {
	if n == d.short {
		return d.shortKey
	}
	return key
}

// Problem reports an error at n, and returns it.
func (d *Decoder) Problem(n *yaml.Node, code fault.Code, msg, hint string) *fault.Problem {
	return d.problem(n, code, msg, hint)
}

func (d *Decoder) problem(n *yaml.Node, code fault.Code, msg, hint string) *fault.Problem {
	d.fails++
	p := &fault.Problem{Code: code, Msg: msg, Hint: hint}
	if n != nil {
		p.Pos = d.Pos(n)
	}
	d.Report(p)
	return p
}

// Keys describes the allowed keys of a map.
type Keys struct {
	What   string // the map, as in messages: "a `call` step"
	Fields []Field
	Target any
	// Common are decoded first, into CommonTarget.
	Common       []Field
	CommonTarget any
	// Bare is a key that may have no value, as in `- reply:`, if its field is
	// optional.
	Bare string
	// Also lists keys that the caller decodes itself.
	Also []string
	// Later lists keys that this version does not support.
	Later []string
	// Elsewhere, if it is set, returns the hint for a key that belongs to
	// another map, or "".
	Elsewhere func(key string) string
}

// Mapping decodes a map: its fields in the order of their declaration. It then
// reports unknown keys. The caller must check for duplicate keys.
func (d *Decoder) Mapping(n *yaml.Node, k *Keys) { d.mapping(node{y: n}, k) }

func (d *Decoder) mapping(n node, k *Keys) {
	if n.shape() != MapShape {
		d.problem(n.y, CodeWrongType, k.What+" must be a map, not "+describe(n), "write indented `key: value` lines below it")
		return
	}
	found := 0
	for _, f := range k.Common {
		found += d.field(n, k, f, k.CommonTarget)
	}
	for _, f := range k.Fields {
		found += d.field(n, k, f, k.Target)
	}
	if found != n.len() {
		d.unknown(n, k)
	}
}

// field decodes one field of a map. It returns 1 if the key is present, else 0.
func (d *Decoder) field(n node, k *Keys, f Field, target any) int {
	info := f.Info()
	v, there := n.get(info.Key)
	found := 0
	if there {
		found = 1
	}
	if info.Kind == KindLater {
		if there {
			d.NotAvailable(n.keyNode(info.Key), "`"+info.Key+":`")
		}
		return found
	}
	if there && v.shape() == NullShape && v.text() == "" {
		// At run time, nil is treated as a missing key.
		if n.y != nil && !(info.Key == k.Bare && f.empty()) && info.Kind != KindAny {
			d.problem(v.y, CodeWrongType, "`"+info.Key+":` has no value", expects(info)+", or remove the key")
			return found
		}
		there = info.Kind == KindAny && n.y != nil
	}
	if there {
		f.decode(d, target, v)
		return found
	}
	partial := d.Partial && len(d.within) == 0
	if info.Required && !partial {
		d.problem(n.y, CodeMissingKey, k.What+" needs `"+info.Key+":`", "add `"+info.Key+": "+Example(info)+"`")
	} else if !partial {
		f.reset(d, target)
	}
	return found
}

// maxUnknown bounds the number of unknown keys reported for one map.
const maxUnknown = 50

// unknown reports the keys that are not declared.
func (d *Decoder) unknown(n node, k *Keys) {
	reported := 0
next:
	for i := range n.len() {
		key, at, _ := n.at(i)
		if has(k.Fields, key) || has(k.Common, key) {
			continue
		}
		for _, a := range k.Also {
			if a == key {
				continue next
			}
		}
		for _, l := range k.Later {
			if l == key {
				d.NotAvailable(at, "`"+key+":`")
				continue next
			}
		}
		if d.Dynamic && strings.HasPrefix(key, "$") {
			continue
		}
		if reported++; reported > maxUnknown {
			return
		}
		d.UnknownKey(at, key, k)
	}
}

func has(fields []Field, key string) bool {
	for _, f := range fields {
		if f.Info().Key == key {
			return true
		}
	}
	return false
}

// UnknownKey reports a key that is not declared.
func (d *Decoder) UnknownKey(at *yaml.Node, key string, k *Keys) {
	var known []string
	for _, fields := range [][]Field{k.Fields, k.Common} {
		for _, f := range fields {
			if f.Info().Kind != KindLater {
				known = append(known, f.Info().Key)
			}
		}
	}
	known = append(known, k.Also...)
	if k.Elsewhere != nil {
		if hint := k.Elsewhere(key); hint != "" {
			d.problem(at, CodeUnknownKey, k.What+" has no key `"+Clip(key)+"`", hint)
			return
		}
	}
	hint := "remove it; known keys: " + strings.Join(known, ", ")
	near := Suggest(key, known)
	if near == "" {
		near = aliasOf(key, known)
	}
	if near != "" {
		hint = "did you mean `" + near + "`?"
	} else if len(known) == 0 {
		hint = "remove it: there are no settings here"
	}
	d.problem(at, CodeUnknownKey, k.What+" has no key `"+Clip(key)+"`", hint).Correct(key, near)
}

// describe describes the type of a value, and its content if that is safe to print.
func describe(n node) string {
	s := n.shape()
	if n.y == nil {
		return s.String()
	}
	if s == NumberShape || s == BoolShape {
		return s.String() + " (" + Clip(n.text()) + ")"
	}
	return s.String()
}

// DescribeNode describes the type of a YAML value.
func DescribeNode(n *yaml.Node) string { return describe(node{y: n}) }

// Clip shortens s to 40 characters and replaces control characters, for messages.
func Clip(s string) string {
	r := []rune(s)
	if len(r) > 40 {
		r = append(r[:40:40], '…')
	}
	for i, c := range r {
		if c < ' ' || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 {
			r[i] = '␣'
		}
	}
	return string(r)
}

// Bind decodes an evaluated object into target. A key whose value is nil counts
// as missing. The error is a *BindError with all problems.
func Bind(fields []Field, target any, v Obj) error {
	var problems []string
	d := Decoder{lax: true, Report: func(p *fault.Problem) { problems = append(problems, p.Msg) }}
	d.mapping(node{v: v}, &Keys{What: "the configuration", Fields: fields, Target: target})
	if len(problems) == 0 {
		return nil
	}
	return &BindError{Problems: problems}
}

// BindError lists the problems of evaluated settings.
type BindError struct{ Problems []string }

// Error returns the problems in the order of the declarations.
func (e *BindError) Error() string { return strings.Join(e.Problems, "; ") }
