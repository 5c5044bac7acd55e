package http

import (
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// pages is how the pages of an answer follow each other.
type pages struct {
	Items  string
	Cursor string
	Param  string
	Link   bool
	Page   string
	First  int
}

var pagesField = spec.Optional("pages", func(w *with) **pages { return &w.Pages },
	"For `for_each` alone: how the next page is found. One of `cursor`, `link` and `page`.",
	spec.String("items", func(p *pages) *string { return &p.Items }, "Where the page has its records, as keys with dots: `data.orders`; the whole answer by default."),
	spec.String("cursor", func(p *pages) *string { return &p.Cursor }, "Where the page says how the next one begins; nothing there, null or \"\" means that it is the last. A URL is called as it is, anything else is sent as a query parameter."),
	spec.String("param", func(p *pages) *string { return &p.Param }, "The query parameter that takes the cursor.").Or("cursor"),
	spec.Bool("link", func(p *pages) *bool { return &p.Link }, "Whether the header `Link` with `rel=\"next\"` (RFC 8288) leads to the next page."),
	spec.String("page", func(p *pages) *string { return &p.Page }, "The query parameter that takes the number of the page, counted up until a page is empty."),
	spec.Int("first", func(p *pages) *int { return &p.First }, "The number of the first page.").Or(1).Min(0),
)

// What a token of a page says before it: its own text.
const (
	byURL    = "u:"
	byCursor = "c:"
	byNumber = "n:"
)

// checkPages finds pages that no loop could go through.
func checkPages(v any) (wrong []string) {
	p := v.(*with).Pages
	if p == nil {
		return nil
	}
	switch n := count(p.Cursor != "", p.Link, p.Page != ""); {
	case n == 0:
		wrong = append(wrong, "`pages:` does not say how the next page is found: it needs one of `cursor`, `link` and `page`")
	case n > 1:
		wrong = append(wrong, "`pages:` needs exactly one of `cursor`, `link` and `page`, and has "+strconv.Itoa(n))
	}
	if p.Cursor == "" && p.Param != "" && p.Param != "cursor" {
		wrong = append(wrong, "`param:` has no effect without `cursor:`")
	}
	return wrong
}

// turn makes a request one for a page.
func (w *with) turn(r *request, token string) *fault.Failure {
	p := w.Pages
	if n := count(p.Cursor != "", p.Link, p.Page != ""); n != 1 {
		return badCall("pages needs one of cursor, link and page, and has %d", n)
	}
	kind, value := token[:min(2, len(token))], token[min(2, len(token)):]
	switch kind {
	case "":
		if p.Page == "" {
			return nil
		}
		value = strconv.Itoa(p.First)
		fallthrough
	case byNumber:
		r.url = withParam(r.url, p.Page, value)
	case byCursor:
		r.url = withParam(r.url, p.Param, value)
	case byURL:
		next, err := r.url.Parse(value)
		if err != nil || next.Scheme != r.url.Scheme || next.Host != r.url.Host || next.User != nil {
			return badCall("the next page is at %q, which is not the system of this connection", cut(value, 200))
		}
		next.Fragment = ""
		r.url = next
	}
	return nil
}

func count(is ...bool) (n int) {
	for _, b := range is {
		if b {
			n++
		}
	}
	return n
}

// withParam gives the URL with a query parameter in place of all of its name.
func withParam(u *url.URL, name, value string) *url.URL {
	var parts []string
	for _, part := range strings.Split(u.RawQuery, "&") {
		key, _, _ := strings.Cut(part, "=")
		if key, err := url.QueryUnescape(key); part != "" && (err != nil || key != name) {
			parts = append(parts, part)
		}
	}
	next := *u
	next.RawQuery = strings.Join(append(parts, url.QueryEscape(name)+"="+url.QueryEscape(value)), "&")
	return &next
}

// page takes a page apart: its records, and where the next one begins.
func (w *with) page(result *connectors.Result, token string, r *request) *fault.Failure {
	p, whole := w.Pages, result.Doc.Value()
	items := at(whole, p.Items)
	if _, ok := document.Decode(items).([]any); !ok {
		where := "the answer"
		if p.Items != "" {
			where = "its `" + p.Items + "`"
		}
		return failed(fault.CodeAnswer, false, nil, "%s: %s is %s, not a list of records", r, where, document.TypeName(items))
	}
	switch {
	case p.Link:
		if next := nextLink(result.Headers); next != "" {
			result.Next = byURL + next
		}
	case p.Cursor != "":
		switch v := at(whole, p.Cursor).(type) {
		case nil:
		case document.Number:
			result.Next = byCursor + string(v)
		case string:
			switch {
			case v == "":
			case strings.HasPrefix(v, "http://"), strings.HasPrefix(v, "https://"), strings.HasPrefix(v, "/"):
				result.Next = byURL + v
			default:
				result.Next = byCursor + v
			}
		default:
			return failed(fault.CodeAnswer, false, nil, "%s: its `%s` is %s, not a cursor", r, p.Cursor, document.TypeName(v))
		}
	default:
		if list := document.Decode(items).([]any); len(list) > 0 {
			n := p.First
			if token != "" {
				n, _ = strconv.Atoi(token[2:]) // we have written it
			}
			result.Next = byNumber + strconv.Itoa(n+1)
		}
	}
	result.Doc = document.FromValue(items)
	return nil
}

// at follows keys with dots; "" is the value itself.
func at(v any, path string) any {
	if path == "" {
		return v
	}
	for _, key := range strings.Split(path, ".") {
		v, _ = document.Key(v, key)
	}
	return v
}

// nextLink finds the target of rel="next" in the header Link (RFC 8288).
func nextLink(h nethttp.Header) string {
	for _, line := range h.Values("Link") {
		for line != "" {
			from, to := strings.IndexByte(line, '<'), strings.IndexByte(line, '>')
			if from < 0 || to < from {
				break
			}
			target, params := line[from+1:to], line[to+1:]
			end := len(params)
			quoted := false
			for i := 0; i < len(params); i++ {
				if params[i] == '"' {
					quoted = !quoted
				}
				if params[i] == ',' && !quoted {
					end = i
					break
				}
			}
			line = params[min(end+1, len(params)):]
			for _, param := range strings.Split(params[:end], ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
				if strings.EqualFold(strings.TrimSpace(name), "rel") {
					for _, rel := range strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)) {
						if strings.EqualFold(rel, "next") {
							return target
						}
					}
				}
			}
		}
	}
	return ""
}
