// Package profile validates documents against JSON Schemas.
//
// A schema cannot refer to other files, so compiling and validating use neither
// network nor disk. Patterns are RE2, formats are asserted, and the cost of
// validating a hostile document is bounded.
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

// MaxViolations is the maximum number of violations that Validate returns.
const MaxViolations = 100

// Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	outer *jsonschema.Schema // without the items of lists
	lists []list
}

// CompileError is the error of an invalid schema. Pointer (RFC 6901) is the
// position in the schema, "" for the whole schema.
type CompileError struct{ Pointer, Msg string }

// Error returns the pointer and the message.
func (e *CompileError) Error() string {
	if e.Pointer == "" {
		return "schema: " + e.Msg
	}
	return "schema at " + e.Pointer + ": " + e.Msg
}

// Compile compiles a JSON Schema of draft 2020-12, or an older one named by
// $schema. Errors are of type *CompileError.
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
	if pointer, typo := misspelled(doc, ""); typo != "" {
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
		d := &division{above: map[*jsonschema.Schema]bool{}, left: maxSplit}
		s.outer, s.lists = d.split(compiled)
	}
	return s, nil
}

// Validate returns the violations of a JSON text, sorted by pointer and at most
// MaxViolations. It returns nil if the text matches. An empty text is validated
// as null.
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

// sealed is a loader that rejects references to other files and hosts.
type sealed struct{}

var errSealed = errors.New("refers to another file; copy the definition to $defs")

func (sealed) Load(string) (any, error) { return nil, errSealed }

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("is not JSON: unexpected text after the value")
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
		return &CompileError{Pointer: at, Msg: fmt.Sprintf("%q is not a valid RE2 pattern: %v", regex.Regex, regex.Err)}
	case errors.As(err, &pointer):
		return refError(doc, base, pointer.URL, "does not exist in this schema")
	case errors.As(err, &anchor):
		return refError(doc, base, anchor.Reference, "does not exist in this schema")
	case errors.As(err, &draft):
		return &CompileError{Pointer: "/$schema", Msg: "is not a supported draft of JSON Schema"}
	case errors.As(err, &load):
		return refError(doc, base, load.URL, errSealed.Error())
	}
	return &CompileError{Msg: strings.ReplaceAll(err.Error(), base, "the schema")}
}

// refError returns the error of the reference that leads to target.
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
