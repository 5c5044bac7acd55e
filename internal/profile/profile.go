// Package profile checks documents against the shape that an author wrote
// down as JSON Schema.
//
// A schema is one file: it refers to nothing outside itself, so compiling and
// validating touch neither network nor disk. Patterns are RE2, formats are
// asserted, and what a hostile document can make a check cost is bounded.
package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"valence/internal/fault"
)

// MaxViolations is the most that one check reports.
const MaxViolations = 100

// Schema is a compiled JSON Schema. Any number of goroutines may use it at once.
type Schema struct {
	outer *jsonschema.Schema // without the items of the lists in lists
	lists []list
}

// CompileError is what is wrong with a schema. Pointer (RFC 6901) leads to the
// place in the schema, "" for the whole.
type CompileError struct{ Pointer, Msg string }

// Error prints the pointer before the message.
func (e *CompileError) Error() string {
	if e.Pointer == "" {
		return "schema: " + e.Msg
	}
	return "schema at " + e.Pointer + ": " + e.Msg
}

// Compile reads a JSON Schema, of draft 2020-12 unless its $schema names an
// older one. Every error is a *CompileError.
func Compile(schemaJSON []byte, name string) (*Schema, error) {
	doc, err := decode(schemaJSON)
	if err != nil {
		return nil, &CompileError{Msg: err.Error()}
	}
	switch doc.(type) {
	case bool, map[string]any:
	default:
		return nil, &CompileError{Msg: "must be an object, true or false"}
	}
	if pointer, typo := misspelt(doc, ""); typo != "" {
		return nil, &CompileError{Pointer: pointer, Msg: typo}
	}
	var out report
	if checkNumbers(doc, nil, &out); len(out.found) > 0 {
		return nil, &CompileError{Pointer: out.sorted()[0].Pointer, Msg: out.found[0].Detail}
	}
	base := "valence://profile/" + name
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(sealed{})
	c.AssertFormat()
	c.AssertVocabs()
	if err := c.AddResource(base, doc); err != nil {
		return nil, compileError(err, doc, base)
	}
	compiled, err := c.Compile(base)
	if err != nil {
		return nil, compileError(err, doc, base)
	}
	s := &Schema{outer: compiled}
	if !bytes.Contains(schemaJSON, []byte("$dynamicRef")) && !bytes.Contains(schemaJSON, []byte("$recursiveRef")) {
		s.outer, s.lists = split(compiled, map[*jsonschema.Schema]bool{})
	}
	return s, nil
}

// Validate tells in which ways the JSON text does not match, in the order of
// pointers and at most MaxViolations; nil if it matches. An empty text is a
// document without data, which is checked as null.
func (s *Schema) Validate(data string) []fault.Violation {
	if data == "" {
		data = "null"
	}
	v, err := decode([]byte(data))
	if err != nil {
		return []fault.Violation{{Detail: err.Error()}}
	}
	var out report
	if checkNumbers(v, nil, &out); len(out.found) > 0 {
		return out.sorted()
	}
	s.check(v, nil, &out)
	return out.sorted()
}

func (s *Schema) check(v any, at []string, out *report) {
	if err := s.outer.Validate(v); err != nil {
		var ve *jsonschema.ValidationError
		if !errors.As(err, &ve) {
			out.add(at, "does not match")
			return
		}
		out.flatten(ve, at)
	}
	for _, l := range s.lists {
		l.check(v, at, out)
		if out.full() {
			return
		}
	}
}

// sealed loads nothing: a schema that refers to another file or host does not compile.
type sealed struct{}

var errSealed = errors.New("refers to another file; a profile stands alone, put the definition under $defs")

func (sealed) Load(string) (any, error) { return nil, errSealed }

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("is not JSON: something follows the value")
	}
	return v, nil
}

func compileError(err error, doc any, base string) error {
	var (
		invalid *jsonschema.SchemaValidationError
		regex   *jsonschema.InvalidRegexError
		pointer *jsonschema.JSONPointerNotFoundError
		load    *jsonschema.LoadURLError
		anchor  *jsonschema.AnchorNotFoundError
		draft   *jsonschema.UnsupportedDraftError
	)
	switch {
	case errors.As(err, &invalid):
		var ve *jsonschema.ValidationError
		if errors.As(invalid.Err, &ve) {
			var out report
			out.flatten(ve, nil)
			if found := out.sorted(); len(found) > 0 {
				return &CompileError{Pointer: found[0].Pointer, Msg: found[0].Detail}
			}
		}
	case errors.As(err, &regex):
		_, at, _ := strings.Cut(regex.URL, "#")
		return &CompileError{Pointer: at, Msg: fmt.Sprintf("%q is not a pattern that RE2 takes: %v", regex.Regex, regex.Err)}
	case errors.As(err, &pointer):
		return refError(doc, base, pointer.URL, "refers to nothing in this schema")
	case errors.As(err, &anchor):
		return refError(doc, base, anchor.Reference, "refers to nothing in this schema")
	case errors.As(err, &draft):
		return &CompileError{Pointer: "/$schema", Msg: "is not a draft of JSON Schema that is known here"}
	case errors.As(err, &load):
		return refError(doc, base, load.URL, errSealed.Error())
	}
	return &CompileError{Msg: strings.ReplaceAll(err.Error(), base, "the schema")}
}

// refError finds the reference that leads to target.
func refError(doc any, base, target, msg string) error {
	target = strings.TrimPrefix(target, base)
	var pointer, value string
	var walk func(v any, at string)
	walk = func(v any, at string) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if s, ok := e.(string); ok && strings.HasPrefix(k, "$") && k != "$id" && k != "$comment" && leadsTo(s, target) {
					if p := at + "/" + escape(k); pointer == "" || p < pointer {
						pointer, value = p, s
					}
				}
				walk(e, at+"/"+escape(k))
			}
		case []any:
			for i, e := range v {
				walk(e, fmt.Sprintf("%s/%d", at, i))
			}
		}
	}
	walk(doc, "")
	if pointer == "" {
		return &CompileError{Msg: fmt.Sprintf("%q %s", target, msg)}
	}
	return &CompileError{Pointer: pointer, Msg: fmt.Sprintf("%q %s", value, msg)}
}

func leadsTo(ref, target string) bool {
	file, _, _ := strings.Cut(ref, "#")
	return ref == target || strings.HasSuffix(target, ref) || file != "" && strings.HasSuffix(target, strings.TrimLeft(file, "./"))
}
