package platform

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"sort"

	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
)

const (
	pageSize  = 100
	maxToken  = 64 << 10 // a query token as sent by a client
	maxFilter = 1 << 20  // an unpacked query token
)

// position is the content of a query token: the query and where to continue. A
// token grants nothing that its bearer could not request, so it is not signed,
// and it survives a restart of the control plane.
type position struct {
	Object string `json:"o"`
	After  string `json:"a"`
	Query  []byte `json:"q,omitempty"` // the body of the first request
	Format int    `json:"f,omitempty"`
}

func (p position) token() string {
	text, _ := json.Marshal(p) // encoding strings and bytes cannot fail
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is valid
	_, _ = w.Write(text)                               // writing to a buffer cannot fail
	_ = w.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

func parseToken(s, object string) (position, error) {
	var p position
	bad := refuse(http.StatusBadRequest, "not a query token of %s: send the queryToken of the query's response", object)
	if len(s) > maxToken {
		return p, bad
	}
	packed, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return p, bad
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxFilter))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Object != object {
		return p, bad
	}
	return p, nil
}

// query serves query and queryMore: at most a hundred objects, and a token if
// there are more.
func (o *object[T]) query(c *call) (*codec.Object, error) {
	at := position{Object: o.Name, Query: c.raw, Format: int(c.bodyFormat)}
	if c.more {
		var err error
		if at, err = parseToken(tokenOf(c), o.Name); err != nil {
			return nil, err
		}
		if c.body, err = codec.Decode(at.Query, codec.Format(at.Format)); err != nil {
			return nil, refuse(http.StatusBadRequest, "invalid query token: %v", err)
		}
	}
	f, err := filter.Parse(c.body, o.filterable())
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s: %v", o.Name, err)
	}
	found, err := o.page(c, f, at.After)
	if err != nil {
		return nil, err
	}
	result := make([]*codec.Object, 0, len(found.Items))
	for _, v := range found.Items {
		result = append(result, o.encode(c, v))
	}
	token := ""
	if found.Cursor != "" {
		at.After = found.Cursor
		if token = at.token(); len(token) > maxToken {
			return nil, refuse(http.StatusBadRequest, "the filter is too long for a paged query")
		}
	}
	return &codec.Object{Type: "QueryResult", Fields: []codec.Field{
		{Name: "numberOfResults", Value: len(result), Attr: true},
		{Name: "queryToken", Value: token},
		{Name: "result", Value: result, Typed: true, Keep: true}, // scripts iterate over it
	}}, nil
}

// tokenOf returns the token of queryMore, which is sent bare, quoted or in an
// element.
func tokenOf(c *call) string {
	s := c.body.Text
	for _, name := range []string{"queryToken", "token"} {
		if c.body.Has(name) {
			s = c.body.String(name)
		}
	}
	return string(bytes.Trim([]byte(s), "\" \t\r\n"))
}

// page returns the objects after a cursor.
func (o *object[T]) page(c *call, f filter.Filter, after string) (page[T], error) {
	if o.Page != nil {
		return o.Page(c, f, func(v T) bool { return o.passes(c, f, v) }, after)
	}
	all, err := o.List(c)
	if err != nil {
		return page[T]{}, err
	}
	sort.Slice(all, func(i, j int) bool { return o.Key(all[i]) < o.Key(all[j]) })
	var p page[T]
	for _, v := range all {
		if o.Key(v) <= after || !o.passes(c, f, v) {
			continue
		}
		if len(p.Items) == pageSize {
			p.Cursor = o.Key(p.Items[pageSize-1])
			break
		}
		p.Items = append(p.Items, v)
	}
	return p, nil
}
