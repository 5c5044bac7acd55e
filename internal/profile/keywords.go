package profile

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// JSON Schema allows unknown keys, so a misspelled `requird:` would be ignored
// silently. Keys that are one edit away from a keyword are rejected; all other
// unknown keys are annotations.

const keywordList = `$id $schema $ref $anchor $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor $vocabulary $comment $defs definitions ` +
	`allOf anyOf oneOf not if then else dependentSchemas prefixItems items additionalItems contains properties patternProperties ` +
	`additionalProperties propertyNames unevaluatedItems unevaluatedProperties type enum const multipleOf maximum exclusiveMaximum minimum ` +
	`exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required ` +
	`dependentRequired dependencies format contentEncoding contentMediaType contentSchema title description default deprecated readOnly ` +
	`writeOnly examples id example`

// misspelled returns the pointer of the first misspelled keyword of a schema and
// a message, or two empty strings.
func misspelled(schema any, at string) (pointer, msg string) {
	o, ok := schema.(map[string]any)
	if !ok {
		return "", ""
	}
	names := make([]string, 0, len(o))
	for k := range o {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		here := at + "/" + escape(k)
		if want := misspelledKeyword(k); want != "" {
			return here, fmt.Sprintf("unknown keyword %q, did you mean %q?", k, want)
		}
		switch k {
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
			if p, m := eachMisspelled(o[k], here); m != "" {
				return p, m
			}
		case "not", "if", "then", "else", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
			"unevaluatedProperties", "additionalItems", "contentSchema":
			if p, m := misspelled(o[k], here); m != "" {
				return p, m
			}
		case "items", "allOf", "anyOf", "oneOf", "prefixItems":
			list, ok := o[k].([]any)
			if !ok {
				if p, m := misspelled(o[k], here); m != "" {
					return p, m
				}
			}
			for i, e := range list {
				if p, m := misspelled(e, here+"/"+strconv.Itoa(i)); m != "" {
					return p, m
				}
			}
		}
	}
	return "", ""
}

func eachMisspelled(v any, at string) (pointer, msg string) {
	o, _ := v.(map[string]any)
	names := make([]string, 0, len(o))
	for k := range o {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		if p, m := misspelled(o[k], at+"/"+escape(k)); m != "" {
			return p, m
		}
	}
	return "", ""
}

// misspelledKeyword returns the keyword that is one edit away from k, ignoring
// case: one character inserted, deleted or replaced, or two swapped. It returns
// "" if k is a keyword, or close to none.
func misspelledKeyword(k string) string {
	best := ""
	for _, word := range strings.Fields(keywordList) {
		if k == word {
			return ""
		}
		if best == "" && len(word) > 3 && oneEdit(strings.ToLower(k), strings.ToLower(word)) {
			best = word
		}
	}
	return best
}

func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) || a[i+1:] == b[i+1:] {
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
