package http

import (
	"fmt"
	"hash/fnv"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// pages describes how to find the next page.
type pages struct {
	Items  []string
	Cursor []string
	Param  string
	Link   bool
	Page   string
	First  int
	Max    int
}

var pagesField = spec.Optional("pages", func(w *with) **pages { return &w.Pages },
	"Only in `for_each`: how to find the next page. Exactly one of `cursor`, `link` and `page` is required.",
	spec.Strings("items", func(p *pages) *[]string { return &p.Items }, "Path of the list of records in the response, such as `data.orders`, or a list of keys. Defaults to the whole response."),
	spec.Strings("cursor", func(p *pages) *[]string { return &p.Cursor }, "Path of the next cursor in the response, such as `paging.next`, or a list of keys, such as `[\"@odata.nextLink\"]`. A missing, null or empty cursor ends the loop. "+
		"A URL is called, also one without host that starts with `/` or `?`; any other value is sent as the query parameter `param`. A cursor that was seen before is an error."),
	spec.String("param", func(p *pages) *string { return &p.Param }, "Query parameter for the cursor.").Or("cursor"),
	spec.Bool("link", func(p *pages) *bool { return &p.Link }, "Follow the response header `Link` with `rel=\"next\"` (RFC 8288)."),
	spec.String("page", func(p *pages) *string { return &p.Page }, "Query parameter for the page number, which increases until a page is empty: an empty list or null, 204, or 404 if it is accepted. A page that equals the one before is an error."),
	spec.Int("first", func(p *pages) *int { return &p.First }, "Number of the first page.").Or(1).Min(0),
	spec.Int("max", func(p *pages) *int { return &p.Max }, "Maximum number of pages. More are an error.").Or(connectors.DefaultMaxPages).Min(1).Max(10_000_000),
).Eg("{ link: true }")

var _ connectors.PageLimit = (*with)(nil)

// MaxPages returns the maximum number of pages.
func (w *with) MaxPages() int {
	if w.Pages == nil {
		return 0
	}
	return w.Pages.Max
}

// Prefixes of page tokens.
const (
	byURL    = "u:"
	byCursor = "c:"
	byNumber = "n:" // the number, a colon and a hash of the records on the page before
)

// checkPages reports invalid combinations of settings.
func checkPages(v any) (wrong []string) {
	p := v.(*with).Pages
	if p == nil {
		return nil
	}
	switch n := count(len(p.Cursor) > 0, p.Link, p.Page != ""); {
	case n == 0:
		wrong = append(wrong, "`pages:` needs one of `cursor`, `link` and `page` to find the next page")
	case n > 1:
		wrong = append(wrong, "`pages:` must set exactly one of `cursor`, `link` and `page`, not "+strconv.Itoa(n))
	}
	if len(p.Cursor) == 0 && p.Param != "" && p.Param != "cursor" {
		wrong = append(wrong, "`param:` has no effect without `cursor:`")
	}
	return wrong
}

// applyPage changes r to request the page of a token. Links to other pages that
// lack the query parameter authParam get it from r.
func (w *with) applyPage(r *request, token, authParam string) *fault.Failure {
	p := w.Pages
	if n := count(len(p.Cursor) > 0, p.Link, p.Page != ""); n != 1 {
		return badCall("pages must set exactly one of cursor, link and page, not %d", n)
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
		value, _, _ = strings.Cut(value, ":")
		r.url = withParam(r.url, p.Page, value)
	case byCursor:
		r.url = withParam(r.url, p.Param, value)
	case byURL:
		next, err := resolve(r.url, value)
		if err != nil || origin(next) != origin(r.url) || next.User != nil {
			return badCall("the next page is at %q, outside this connection's system", truncate(value, 200))
		}
		if query := next.Query(); authParam != "" && !query.Has(authParam) {
			next = withParam(next, authParam, r.url.Query().Get(authParam))
		}
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

// withParam returns u with one query parameter replaced.
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

// extractPage replaces the document by the page's records and sets Next.
func (w *with) extractPage(result *connectors.Result, token string, r *request) *fault.Failure {
	p, whole := w.Pages, result.Doc.Value()
	wrong := func(format string, args ...any) *fault.Failure {
		return connectors.Failf(fault.CodeAnswer, false, nil, "%s: %s", r, fmt.Sprintf(format, args...))
	}
	if result.Status == nethttp.StatusNoContent || result.Status == nethttp.StatusNotFound && p.Page != "" && token != "" {
		result.Doc = document.FromValue([]any{})
		return nil
	}
	items, found, why := keyPath(p.Items).find(whole)
	switch {
	case why != "":
		return wrong("%s", why)
	case result.Doc == document.Empty:
		return wrong("the response is empty, not a list of records")
	case !found:
		return wrong("it has no `%s`, which should be the list of records", keyPath(p.Items))
	case items == nil:
		items = []any{}
	}
	list, ok := document.Decode(items).([]any)
	if !ok {
		where := "the response"
		if len(p.Items) > 0 {
			where = "its `" + keyPath(p.Items).String() + "`"
		}
		return wrong("%s is %s, not a list of records", where, document.TypeName(items))
	}
	result.Doc = document.FromValue(items)
	switch {
	case p.Link:
		next, err := nextLink(result.Headers, r.url)
		if err == nil && next != "" {
			result.Next, err = pageAt(r.url, next)
		}
		if err != nil {
			return wrong("cannot find the next page: %v", err)
		}
	case len(p.Cursor) > 0:
		cursor, _, why := keyPath(p.Cursor).find(whole)
		if why == "" {
			result.Next, why = cursorToken(cursor, keyPath(p.Cursor), r.url)
		}
		if why != "" {
			return wrong("cannot find the next page: %s", why)
		}
	case len(list) > 0:
		n := p.First
		hash := fnv.New64a()
		hash.Write(result.Doc.Body())
		sum := strconv.FormatUint(hash.Sum64(), 36)
		if token != "" {
			number, before, _ := strings.Cut(token[len(byNumber):], ":")
			n, _ = strconv.Atoi(number) // written below
			if before == sum {
				return wrong("page %d has the same records as the page before: the system ignores `%s`, or repeats its last page", n, p.Page)
			}
		}
		result.Next = byNumber + strconv.Itoa(n+1) + ":" + sum
	}
	return nil
}

// extractRecorded is extractPage for a response that did not come from the network.
func extractRecorded(v any, result *connectors.Result, token string) *fault.Failure {
	w := v.(*with)
	b, _ := parseBase("http://localhost")
	u, f := b.join(w.Path, w.Query, "")
	if f != nil {
		return f
	}
	r := &request{method: nethttp.MethodGet, url: u}
	if f := w.applyPage(r, token, ""); f != nil {
		return f
	}
	return w.extractPage(result, token, r)
}

// pageAt returns the token of the page that a response links to.
func pageAt(request *url.URL, link string) (token string, err error) {
	u, err := resolve(request, link)
	if err != nil {
		return "", err
	}
	return byURL + u.String(), nil
}

// cursorToken returns the token of the page after a cursor, "" for the end, or
// why the value is not a cursor.
func cursorToken(cursor any, at keyPath, request *url.URL) (token, why string) {
	switch v := cursor.(type) {
	case nil:
		return "", ""
	case document.Number:
		return byCursor + string(v), ""
	case string:
		if len(v) > maxLink {
			return "", "its `" + at.String() + "` is longer than 8 KiB"
		}
		if !isLink(v) {
			if v == "" {
				return "", ""
			}
			return byCursor + v, ""
		}
		token, err := pageAt(request, v)
		if err != nil {
			return "", "its `" + at.String() + "` is not a valid URL"
		}
		return token, ""
	}
	return "", "its `" + at.String() + "` is " + document.TypeName(cursor) + ", not a cursor"
}

// isLink reports whether a cursor is the URL of the next page.
func isLink(s string) bool {
	for _, prefix := range []string{"http://", "https://", "/", "?", "./", "../"} {
		if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
