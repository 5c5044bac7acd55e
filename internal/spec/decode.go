package spec

import (
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Decoder reads settings from one file and reports everything wrong with them.
type Decoder struct {
	File     string
	Compiler Compiler
	Report   func(*fault.Problem)
	// Dynamic is true where values may be expressions that are evaluated
	// later: they are passed over, and everything else is checked as strictly.
	Dynamic bool
	// Partial is true where required keys of the outermost mapping may be
	// missing, and have no defaults.
	Partial bool

	within []string
	fails  int
	lax    bool // run time: a number or a boolean may stand for text
}

// Fails is the number of errors reported so far.
func (d *Decoder) Fails() int { return d.fails }

// Within gives the keys of the nested mappings that are being decoded.
func (d *Decoder) Within() []string { return d.within }

// Pos is where a node stands.
func (d *Decoder) Pos(n *yaml.Node) fault.Pos {
	return fault.Pos{File: d.File, Line: n.Line, Col: n.Column}
}

// Problem reports an error at n.
func (d *Decoder) Problem(n *yaml.Node, code fault.Code, msg, hint string) {
	d.problem(n, code, msg, hint)
}

func (d *Decoder) problem(n *yaml.Node, code fault.Code, msg, hint string) {
	d.fails++
	p := &fault.Problem{Code: code, Msg: msg, Hint: hint}
	if n != nil {
		p.Pos = d.Pos(n)
	}
	d.Report(p)
}

// Keys says what a mapping may hold.
type Keys struct {
	What   string // the mapping, as an author calls it: "a `call` step"
	Fields []Field
	Target any
	// Common are decoded first, into CommonTarget.
	Common       []Field
	CommonTarget any
	// Bare is a key that may stand without a value, as in `- reply:`, if its
	// field is optional.
	Bare string
	// Also are keys that the caller reads itself.
	Also []string
	// Later are keys of the language that this version does not have.
	Later []string
}

// Mapping decodes a mapping: fields in the order they are declared, then what
// is missing or unknown. The caller has looked for duplicate keys.
func (d *Decoder) Mapping(n *yaml.Node, k *Keys) { d.mapping(node{y: n}, k) }

func (d *Decoder) mapping(n node, k *Keys) {
	if n.shape() != MapShape {
		d.problem(n.y, CodeWrongType, k.What+" must be a mapping, not "+describe(n), "write `key: value` lines below it, indented")
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

// field decodes one field of a mapping, and gives 1 if its key is there.
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
		// At run time an expression that gave nil is as good as no key.
		if n.y != nil && !(info.Key == k.Bare && f.empty()) && info.Kind != KindAny {
			d.problem(v.y, CodeWrongType, "`"+info.Key+":` has no value", expects(info)+", or drop the key")
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

// maxUnknown is how many unknown keys of one mapping are reported.
const maxUnknown = 50

// unknown reports the keys that nobody declared.
func (d *Decoder) unknown(n node, k *Keys) {
	told := 0
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
		if told++; told > maxUnknown {
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

// UnknownKey reports a key that its mapping does not have.
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
	hint := "remove it; known here: " + strings.Join(known, ", ")
	if s := Suggest(key, known); s != "" {
		hint = "did you mean `" + s + "`?"
	} else if len(known) == 0 {
		hint = "remove it: nothing can be set here"
	}
	d.problem(at, CodeUnknownKey, k.What+" has no key `"+Clip(key)+"`", hint)
}

// describe says what a value is, as far as it is safe to print.
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

// DescribeNode says what a YAML value is.
func DescribeNode(n *yaml.Node) string { return describe(node{y: n}) }

// Clip makes a text fit to be shown in a message: on one line, and not long.
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

// Bind decodes an evaluated object into target by the rules of its
// declarations. A key whose value is nil counts as missing. The error says
// everything that is wrong.
func Bind(fields []Field, target any, v Obj) error {
	var problems []string
	d := Decoder{lax: true, Report: func(p *fault.Problem) { problems = append(problems, p.Msg) }}
	d.mapping(node{v: v}, &Keys{What: "it", Fields: fields, Target: target})
	if len(problems) == 0 {
		return nil
	}
	return &BindError{Problems: problems}
}

// BindError is why evaluated settings do not fit their declarations.
type BindError struct{ Problems []string }

// Error prints the problems in the order of the declarations.
func (e *BindError) Error() string { return strings.Join(e.Problems, "; ") }
