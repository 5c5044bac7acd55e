package examples

import (
	"net/http"
	"strings"
	"testing"
)

func TestMatchJSON(t *testing.T) {
	for _, c := range []struct {
		name, want, got string
		subset          bool
		differs         string
	}{
		{name: "same", want: `{"a":[1,"x",null,true]}`, got: ` { "a" : [1, "x", null, true] } `},
		{name: "digits count", want: `{"a":0.10}`, got: `{"a":0.1}`, differs: `at "/a": got 0.1, want 0.10`},
		{name: "long integers", want: `[9007199254740993]`, got: `[9007199254740992]`, differs: `at "/0": got 9007199254740992, want 9007199254740993`},
		{name: "a number is no text", want: `{"a":1}`, got: `{"a":"1"}`, differs: `at "/a": got "1", want 1`},
		{name: "order of keys", want: `{"a":1,"b":2}`, got: `{"b":2,"a":1}`, differs: `at "": got {"b":2,"a":1}, want {"a":1,"b":2}`},
		{name: "key too many", want: `{"a":1}`, got: `{"a":1,"b":2}`, differs: `at "": got {"a":1,"b":2}, want {"a":1}`},
		{name: "key missing", want: `{"a":1,"b":2}`, got: `{"a":1}`, differs: `at "": got {"a":1}, want {"a":1,"b":2}`},
		{name: "list too long", want: `[1]`, got: `[1,2]`, differs: `at "": got [1,2], want [1]`},
		{name: "null is not empty", want: `{"a":[]}`, got: `{"a":null}`, differs: `at "/a": got null, want []`},
		{name: "object for text", want: `"x"`, got: `{}`, differs: `at "": got {}, want "x"`},
		{name: "any", want: `{"a":"<any>","b":"<any>"}`, got: `{"a":0,"b":[1]}`},
		{name: "any is something", want: `{"a":"<any>"}`, got: `{"a":""}`, differs: `at "/a": got "", want "\u003cany\u003e"`},
		{name: "time", want: `"<time>"`, got: `"2026-01-02T03:04:05.678Z"`},
		{name: "no time", want: `"<time>"`, got: `"yesterday"`, differs: `at "": got "yesterday", want "\u003ctime\u003e"`},
		{name: "subset", want: `{"b":{"c":1}}`, got: `{"a":1,"b":{"d":2,"c":1}}`, subset: true},
		{name: "not a subset", want: `{"b":1}`, got: `{"a":1}`, subset: true, differs: `at "": got {"a":1}, want {"b":1}`},
		{name: "not JSON", want: `1`, got: `{`, differs: "not JSON: EOF"},
		{name: "two documents", want: `1`, got: `1 2`, differs: "not JSON: unexpected text after the JSON value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := MatchJSON([]byte(c.want), []byte(c.got), c.subset)
			if c.differs == "" && d != "" || !strings.HasPrefix(d, c.differs) {
				t.Errorf("got %q, want %q", d, c.differs)
			}
		})
	}
}

func TestMatchCalls(t *testing.T) {
	e := &Example{Calls: []Call{
		{To: "erp POST /a", Headers: map[string]string{"Idempotency-Key": "<same>"}, Content: Content{JSON: []byte(`{"a":1}`)}},
		{To: "erp POST /a", Headers: map[string]string{"Idempotency-Key": "<same>"}},
	}}
	got := func(key, body string) ReceivedCall {
		return ReceivedCall{To: "erp POST /a", Header: http.Header{"Idempotency-Key": {key}}, Body: []byte(body), Status: 200}
	}
	for _, c := range []struct {
		name string
		got  []ReceivedCall
		want string
	}{
		{"all", []ReceivedCall{got("k", `{"a":1}`), got("k", `{"a":2}`)}, ""},
		{"missing", []ReceivedCall{got("k", `{"a":1}`)}, "missing: erp POST /a: no call to it is left"},
		{"another key", []ReceivedCall{got("k", `{"a":1}`), got("l", `{}`)}, `missing: erp POST /a: header Idempotency-Key: got "l", want "k"` + "\n" + `unexpected: erp POST /a (answered 200): {}`},
		{"one too many", []ReceivedCall{got("k", `{"a":1}`), got("k", `{}`), {To: "erp GET /b", Status: 404}}, "unexpected: erp GET /b (answered 404): "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := strings.Join(e.MatchCalls(c.got), "\n"); d != c.want {
				t.Errorf("got  %s\nwant %s", d, c.want)
			}
		})
	}
}
