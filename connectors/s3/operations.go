package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// object is the name of an object.
type object struct{ Bucket, Key string }

func (o object) String() string { return strconv.Quote(spec.Clip(o.Bucket + "/" + o.Key)) }

func objectFields[T any](f func(*T) *object) []spec.Field {
	return []spec.Field{
		spec.String("bucket", func(t *T) *string { return &f(t).Bucket }, "Bucket.").Eg("orders").Required(),
		spec.String("key", func(t *T) *string { return &f(t).Key }, "Key of the object.").Eg("2026/${doc.id}.json").Required(),
	}
}

type get struct {
	object
	Format content.Format
}

var getOperation = connectors.Define(connectors.Operation{
	Name: "get", Doc: "Reads an object. The content becomes the document. Binary content of more than 1 MiB becomes a file object, whose content is stored outside the document and streamed to the next operation.", Safe: true,
	With:   append(objectFields(func(g *get) *object { return &g.object }), content.Fields(func(g *get) *content.Format { return &g.Format })...),
	Check:  func(v any) []string { return v.(*get).Format.Check() },
	Sample: "- call: store.get\n  with: { bucket: prices, key: \"${doc.sku}.json\" }\n",
}, func(ctx context.Context, c *connection, w *get, _ *connectors.Call) (*connectors.Result, error) {
	b, err := c.load(ctx, &w.Format, w.object, "")
	if err != nil {
		return nil, err
	}
	doc, err := parse(ctx, &w.Format, b, w.object)
	if err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: doc}, nil
})

// load returns the content of an object of at most maxSize bytes. If etag is set,
// it fails with CodeMissing unless the object still has it.
func (c *connection) load(ctx context.Context, f *content.Format, o object, etag string) (b *blob.Content, err error) {
	what := "read " + o.String()
	return b, request(ctx, what, func(ctx context.Context) error {
		options := minio.GetObjectOptions{}
		if etag != "" {
			if err := options.SetMatchETag(etag); err != nil {
				return err
			}
		}
		core := minio.Core{Client: c.store}
		r, _, _, err := core.GetObject(ctx, o.Bucket, o.Key, options)
		if status(err) == http.StatusPreconditionFailed {
			return connectors.Failf(CodeMissing, false, err, "%s: the object was replaced", what)
		}
		if err != nil {
			return err
		}
		defer r.Close()
		var tooLarge int64
		if b, tooLarge, err = f.Read(ctx, r, c.maxSize, path.Base(o.Key)); tooLarge > 0 {
			return connectors.Failf(fault.CodeTooLarge, false, nil, "%s: larger than max_size (%d bytes)", what, tooLarge)
		}
		return err
	})
}

// parse reads an object as a document.
func parse(ctx context.Context, f *content.Format, b *blob.Content, o object) (*document.Document, error) {
	doc, err := f.File(ctx, b, path.Base(o.Key))
	if err == nil {
		return doc, nil
	}
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	if errors.Is(err, content.DelimiterError{}) {
		return nil, connectors.Failf(CodeBadCall, false, err, "cannot read %s: %v", o, err)
	}
	return nil, connectors.Failf(fault.CodeAnswer, false, err, "cannot read %s as %s: %v", o, f.Named(path.Base(o.Key)), err)
}

type put struct{ object }

var putOperation = connectors.Define(connectors.Operation{
	Name: "put", Doc: "Writes the document to an object, which is replaced if it exists. Others see the whole object or none.", SendsBody: true, Files: true,
	With:   objectFields(func(p *put) *object { return &p.object }),
	Sample: "- call: store.put\n  with: { bucket: orders, key: \"2026/${doc.id}.json\" }\n",
}, func(ctx context.Context, c *connection, w *put, call *connectors.Call) (*connectors.Result, error) {
	body, err := blob.Body(ctx, call.Body)
	if err != nil {
		return nil, connectors.Failf(CodeBadCall, false, err, "write %s: %v", w.object, err)
	}
	return &connectors.Result{Doc: document.Empty}, request(ctx, "write "+w.object.String(), func(ctx context.Context) error {
		if body.Size > partSize || body.Stored() {
			return c.upload(ctx, w.object, body)
		}
		b, err := body.Bytes(partSize)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		core := minio.Core{Client: c.store} // one request, with the digest of the content
		_, err = core.PutObject(ctx, w.Bucket, w.Key, bytes.NewReader(b), int64(len(b)), "", hex.EncodeToString(sum[:]),
			minio.PutObjectOptions{ContentType: body.MediaType, DisableContentSha256: true}) // the library signs chunks otherwise
		return err
	})
})

type remove struct{ object }

var deleteOperation = connectors.Define(connectors.Operation{
	Name: "delete", Doc: "Deletes an object. Succeeds if there is no such object.",
	With:   objectFields(func(r *remove) *object { return &r.object }),
	Sample: "- call: store.delete\n  with: { bucket: orders, key: \"2026/${doc.id}.json\" }\n",
}, func(ctx context.Context, c *connection, w *remove, _ *connectors.Call) (*connectors.Result, error) {
	return &connectors.Result{Doc: document.Empty}, request(ctx, "delete "+w.object.String(), func(ctx context.Context) error {
		return c.store.RemoveObject(ctx, w.Bucket, w.Key, minio.RemoveObjectOptions{})
	})
})

type list struct{ Bucket, Prefix string }

// maxListed is the maximum number of objects in a listing.
const maxListed = 10_000

var listOperation = connectors.Define(connectors.Operation{
	Name: "list", Doc: "Lists the objects whose keys begin with a prefix, sorted by key, at most 10,000. The document is a list of maps with `key`, `name`, `size`, `modified` and `etag`.", Safe: true,
	With: []spec.Field{
		spec.String("bucket", func(l *list) *string { return &l.Bucket }, "Bucket.").Eg("orders").Required(),
		spec.String("prefix", func(l *list) *string { return &l.Prefix }, "Beginning of the keys.").Eg("2026/"),
	},
	Sample: "- call: store.list\n  with: { bucket: orders, prefix: 2026/ }\n",
}, func(ctx context.Context, c *connection, w *list, _ *connectors.Call) (*connectors.Result, error) {
	found, err := c.list(ctx, w.Bucket, w.Prefix, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, o := range found {
		out = append(out, properties(o))
	}
	return &connectors.Result{Doc: document.FromValue(out)}, nil
})

// list returns the first objects with a prefix that match, at most maxListed.
func (c *connection) list(ctx context.Context, bucket, prefix string, match func(key string) bool) (found []minio.ObjectInfo, err error) {
	return found, request(ctx, "list "+object{bucket, prefix}.String(), func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		for o := range c.store.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			if match(o.Key) {
				found = append(found, o)
			}
			if len(found) == maxListed {
				break
			}
		}
		return nil
	})
}

// properties returns the properties of an object that a process can read.
func properties(i minio.ObjectInfo) *document.Object {
	o := &document.Object{}
	o.Set("key", i.Key)
	o.Set("name", path.Base(i.Key))
	o.Set("size", document.Number(strconv.FormatInt(i.Size, 10)))
	o.Set("modified", i.LastModified.UTC().Format(time.RFC3339Nano))
	o.Set("etag", i.ETag)
	return o
}

type presign struct {
	object
	Method  string
	Expires time.Duration
}

var presignOperation = connectors.Define(connectors.Operation{
	Name: "presign", Doc: "Creates a URL with which anybody may read or write one object until it expires. Nothing is sent. The document is a map with `url` and `expires`.", Safe: true,
	With: append(objectFields(func(p *presign) *object { return &p.object }),
		spec.Enum("method", func(p *presign) *string { return &p.Method }, "Whether the URL reads or writes the object.", "get", "put").Or("get"),
		spec.Duration("expires", func(p *presign) *time.Duration { return &p.Expires }, "How long the URL can be used.").Or(15*time.Minute).Min(time.Second).Max(7*24*time.Hour)),
	Sample: "- call: store.presign\n  with: { bucket: orders, key: \"2026/${doc.id}.pdf\", expires: 1h }\n",
}, func(ctx context.Context, c *connection, w *presign, _ *connectors.Call) (*connectors.Result, error) {
	out := &document.Object{}
	err := request(ctx, "sign a URL of "+w.object.String(), func(ctx context.Context) error {
		sign := c.store.PresignedPutObject
		if w.Method == "get" {
			sign = func(ctx context.Context, bucket, key string, expires time.Duration) (*url.URL, error) {
				return c.store.PresignedGetObject(ctx, bucket, key, expires, nil)
			}
		}
		expires := time.Now().Add(w.Expires)
		u, err := sign(ctx, w.Bucket, w.Key, w.Expires)
		if err != nil {
			return err
		}
		out.Set("url", u.String())
		out.Set("expires", expires.UTC().Format(time.RFC3339))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.FromValue(out)}, nil
})
