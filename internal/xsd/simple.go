package xsd

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/spec"
)

// primitive is the lexical space of a simple type.
type primitive string

const (
	stringType  primitive = "string"
	booleanType primitive = "boolean"
	decimalType primitive = "decimal"
	integerType primitive = "integer"
	doubleType  primitive = "double"
	base64Type  primitive = "base64Binary"
	hexType     primitive = "hexBinary"
	timeType    primitive = "dateTime" // and date, time and parts of dates
)

// Simple is a simple type: a restriction of a primitive, a list or a union.
type Simple struct {
	primitive primitive
	layout    string  // of times: the name of the built-in type
	item      *Simple // of a list
	members   []*Simple
	enum      []string
	patterns  []*regexp.Regexp
	space     string // whiteSpace: preserve, replace or collapse
	bounds
}

// bounds are the numeric facets of a simple type.
type bounds struct {
	length, minLength, maxLength *int
	totalDigits, fractionDigits  *int
	min, max                     *big.Rat
	minOpen, maxOpen             bool
}

// restrict returns a copy of a type that can be restricted further.
func (s *Simple) restrict() *Simple {
	c := *s
	c.patterns = slices.Clone(s.patterns)
	return &c
}

// normal applies the white space facet.
func (s *Simple) normal(text string) string {
	switch s.space {
	case "preserve":
		return text
	case "replace":
		return strings.Map(func(r rune) rune {
			if r == '\t' || r == '\n' || r == '\r' {
				return ' '
			}
			return r
		}, text)
	}
	return strings.Join(strings.Fields(text), " ")
}

// appendValue appends text as JSON.
func (s *Simple) appendValue(dst []byte, text string) []byte {
	text = s.normal(text)
	if s.item != nil {
		dst = append(dst, '[')
		for i, part := range strings.Fields(text) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = s.item.appendValue(dst, part)
		}
		return append(dst, ']')
	}
	for _, m := range s.members {
		if m.check(m.normal(text)) == "" {
			return m.appendValue(dst, text)
		}
	}
	switch s.primitive {
	case booleanType:
		switch text {
		case "true", "1":
			return append(dst, "true"...)
		case "false", "0":
			return append(dst, "false"...)
		}
	case decimalType, integerType, doubleType:
		if n, ok := convert.XMLNumber(text); ok {
			return append(dst, n...)
		}
	}
	return document.AppendString(dst, text)
}

// check returns the reason that normalized text is not of the type, or "".
func (s *Simple) check(text string) string {
	if s.item != nil {
		return s.checkList(text)
	}
	if len(s.members) > 0 {
		if !slices.ContainsFunc(s.members, func(m *Simple) bool { return m.check(m.normal(text)) == "" }) {
			return quoted(text) + " is of none of the types that are allowed"
		}
		return s.facets(text)
	}
	if !s.lexical(text) {
		return quoted(text) + " is not " + s.noun()
	}
	return s.facets(text)
}

func (s *Simple) checkList(text string) string {
	parts := strings.Fields(text)
	for _, p := range parts {
		if why := s.item.check(p); why != "" {
			return why
		}
	}
	return s.checkLength(len(parts), "items")
}

// facets checks the facets of a value that is in the lexical space.
func (s *Simple) facets(text string) string {
	if len(s.enum) > 0 && !slices.Contains(s.enum, text) {
		why := quoted(text) + " is not one of " + strings.Join(shortened(s.enum), ", ")
		if near := spec.Nearest(text, s.enum); near != "" {
			why += " (did you mean `" + near + "`?)"
		}
		return why
	}
	for _, p := range s.patterns {
		if !p.MatchString(text) {
			return quoted(text) + " does not match the pattern " + strings.TrimSuffix(strings.TrimPrefix(p.String(), "^(?:"), ")$")
		}
	}
	if why := s.checkLength(s.size(text), "characters"); why != "" {
		return why
	}
	if s.primitive == decimalType || s.primitive == integerType || s.primitive == doubleType {
		return s.checkNumber(text)
	}
	return ""
}

func (s *Simple) size(text string) int {
	switch s.primitive {
	case base64Type:
		return base64.StdEncoding.DecodedLen(len(strings.TrimRight(strings.ReplaceAll(text, " ", ""), "=")))
	case hexType:
		return len(text) / 2
	}
	return utf8.RuneCountInString(text)
}

func (s *Simple) checkLength(n int, unit string) string {
	switch {
	case s.length != nil && n != *s.length:
		return fmt.Sprintf("it has %d %s, not %d", n, unit, *s.length)
	case s.minLength != nil && n < *s.minLength:
		return fmt.Sprintf("it has %d %s, the minimum is %d", n, unit, *s.minLength)
	case s.maxLength != nil && n > *s.maxLength:
		return fmt.Sprintf("it has %d %s, the maximum is %d", n, unit, *s.maxLength)
	}
	return ""
}

func (s *Simple) checkNumber(text string) string {
	if s.totalDigits != nil || s.fractionDigits != nil {
		whole, fraction, _ := strings.Cut(strings.TrimLeft(text, "+-"), ".")
		whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
		if s.fractionDigits != nil && len(fraction) > *s.fractionDigits {
			return fmt.Sprintf("%s has more than %d decimal places", text, *s.fractionDigits)
		}
		if s.totalDigits != nil && len(whole)+len(fraction) > *s.totalDigits {
			return fmt.Sprintf("%s has more than %d digits", text, *s.totalDigits)
		}
	}
	if s.min == nil && s.max == nil {
		return ""
	}
	if len(text) > maxDigits || strings.ContainsAny(text, "eE") && !smallExponent(text) {
		return quoted(text) + " is out of range"
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok { // INF and NaN
		return ""
	}
	if s.min != nil && (n.Cmp(s.min) < 0 || s.minOpen && n.Cmp(s.min) == 0) {
		return text + " is less than " + bound(s.min, s.minOpen)
	}
	if s.max != nil && (n.Cmp(s.max) > 0 || s.maxOpen && n.Cmp(s.max) == 0) {
		return text + " is greater than " + bound(s.max, s.maxOpen)
	}
	return ""
}

// maxDigits is the length of numbers that are compared with bounds.
const maxDigits = 1000

func bound(r *big.Rat, open bool) string {
	text := strings.TrimRight(strings.TrimRight(r.FloatString(20), "0"), ".")
	if open {
		return "or equal to " + text
	}
	return text
}

func smallExponent(text string) bool {
	n, err := strconv.Atoi(text[strings.IndexAny(text, "eE")+1:])
	return err == nil && n > -400 && n < 400
}

// lexical reports whether text is in the lexical space of the primitive.
func (s *Simple) lexical(text string) bool {
	switch s.primitive {
	case booleanType:
		return text == "true" || text == "false" || text == "1" || text == "0"
	case integerType:
		_, ok := convert.XMLNumber(text)
		return ok && !strings.ContainsAny(text, ".eE")
	case decimalType:
		_, ok := convert.XMLNumber(text)
		return ok && !strings.ContainsAny(text, "eE")
	case doubleType:
		_, ok := convert.XMLNumber(text)
		return ok || text == "INF" || text == "-INF" || text == "NaN"
	case base64Type:
		_, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, " ", ""))
		return err == nil
	case hexType:
		_, err := hex.DecodeString(text)
		return err == nil
	case timeType:
		return validTime(s.layout, text)
	}
	return true
}

// times are the lexical forms of times, without a zone.
var times = map[string]string{
	"dateTime": "2006-01-02T15:04:05", "date": "2006-01-02", "time": "15:04:05",
	"gYear": "2006", "gYearMonth": "2006-01", "gMonth": "--01", "gMonthDay": "--01-02", "gDay": "---02",
}

var zone = regexp.MustCompile(`(Z|[+-]\d\d:\d\d)$`)

func validTime(layout, text string) bool {
	if layout == "duration" {
		return duration.MatchString(text) && !strings.HasSuffix(text, "T") && !strings.HasSuffix(text, "P")
	}
	if at := zone.FindStringIndex(text); at != nil && (layout != "gYear" || text[at[0]] == 'Z' || len(text) > 6) {
		text = text[:at[0]]
	}
	if strings.HasSuffix(text, "T24:00:00") {
		text = strings.Replace(text, "T24", "T00", 1)
	}
	_, err := time.Parse(times[layout], strings.TrimPrefix(text, "-"))
	if layout[0] == 'g' && layout[1] != 'Y' {
		_, err = time.Parse(times[layout], text)
	}
	return err == nil
}

var duration = regexp.MustCompile(`^-?P(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$`)

// noun describes the values of the type.
func (s *Simple) noun() string {
	switch s.primitive {
	case booleanType:
		return "true or false"
	case integerType:
		return "an integer"
	case decimalType, doubleType:
		return "a number"
	case base64Type:
		return "Base64"
	case hexType:
		return "hexadecimal"
	case timeType:
		return "a " + s.layout
	}
	return "text"
}

// text returns the lexical form of a JSON value and the reason that there is
// none.
func (s *Simple) text(v any) (text, why string) {
	v = document.Decode(v)
	if s.item != nil {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		parts := make([]string, len(list))
		for i, e := range list {
			if parts[i], why = s.item.text(e); why != "" {
				return "", why
			}
		}
		text = strings.Join(parts, " ")
		return text, s.check(text)
	}
	switch v := v.(type) {
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	case document.Number:
		text = string(v)
		if s.primitive == decimalType || s.primitive == integerType {
			text = plainNumber(text)
		}
	default:
		return "", "it must be " + s.noun() + ", not " + article(document.TypeName(v))
	}
	if text = s.normal(text); text == "" && s.primitive != stringType && len(s.members) == 0 {
		return "", "it is empty, but must be " + s.noun()
	}
	return text, s.check(text)
}

func article(typeName string) string {
	switch typeName {
	case "object":
		return "an object"
	case "text", "null":
		return typeName
	}
	return "a " + typeName
}

// plainNumber returns a number without an exponent if it is short enough.
func plainNumber(text string) string {
	if !strings.ContainsAny(text, "eE") || !smallExponent(text) || len(text) > maxDigits {
		return text
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return text
	}
	return strings.TrimSuffix(strings.TrimRight(r.FloatString(500), "0"), ".")
}

func quoted(text string) string { return "`" + spec.Clip(text) + "`" }

// shortened returns at most eight values.
func shortened(list []string) []string {
	if len(list) > 8 {
		return append(slices.Clone(list[:8]), "…")
	}
	return list
}
