package admin

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/fault"
)

// credentials are the headers that a process does not see.
var credentials = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// requestOf returns the request that a process is started with; nil if it is
// absent or null.
func requestOf(body *document.Object) (*atom.Request, *fault.Violation) {
	v, _ := body.Get("request")
	if v == nil {
		return nil, nil
	}
	o, ok := document.Decode(v).(*document.Object)
	if !ok {
		return nil, &fault.Violation{Pointer: "/request", Detail: "must be an object"}
	}
	r := &atom.Request{Query: url.Values{}, Header: http.Header{}, Hidden: credentials}
	for _, key := range o.Keys() {
		v, _ := o.Get(key)
		pointer := "/request/" + key
		var wrong *fault.Violation
		switch key {
		case "method":
			if r.Method, ok = v.(string); !ok || !isToken(r.Method) {
				return nil, &fault.Violation{Pointer: pointer, Detail: "must be an HTTP method"}
			}
			r.Method = strings.ToUpper(r.Method)
		case "params":
			wrong = eachText(v, pointer, func(name, value string) string {
				r.Params = append(r.Params, atom.KV{Name: name, Value: value})
				return ""
			})
		case "query":
			wrong = eachText(v, pointer, func(name, value string) string {
				r.Query.Add(name, value)
				return ""
			})
		case "headers":
			wrong = eachText(v, pointer, func(name, value string) string {
				if !isToken(name) {
					return "is not a valid header name"
				}
				r.Header.Add(textproto.CanonicalMIMEHeaderKey(name), value)
				return ""
			})
		default:
			wrong = &fault.Violation{Pointer: pointer, Detail: "unknown key; use method, params, query, headers"}
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	return r, nil
}

// eachText calls add for each value of an object whose values are strings or,
// for repeated names, lists of strings. add returns a problem, or "".
func eachText(v any, pointer string, add func(name, value string) string) *fault.Violation {
	o, ok := document.Decode(v).(*document.Object)
	if !ok {
		return &fault.Violation{Pointer: pointer, Detail: "must be an object"}
	}
	for _, name := range o.Keys() {
		v, _ := o.Get(name)
		values, ok := document.Decode(v).([]any)
		if !ok {
			values = []any{v}
		}
		for _, v := range values {
			text, ok := v.(string)
			detail := "must be a string or a list of strings"
			if ok {
				detail = add(name, text)
			}
			if detail != "" {
				return &fault.Violation{Pointer: pointer + "/" + name, Detail: detail}
			}
		}
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
