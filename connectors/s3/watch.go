package s3

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

type watch struct {
	Bucket, Prefix string
	Every          time.Duration
	Archive        string
	Delete         bool
	Format         content.Format
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Receives the objects whose keys begin with a prefix. An object is archived or deleted when its message is on disk. It is recognized by its key, its ETag " +
			"and its time, so that it is accepted exactly once, even after a crash. An object that is replaced while it is being received is received again: the delete has " +
			"`If-Match`. A store that ignores `If-Match` may delete an object that is replaced in the moment between the last check and the delete; there, write each object once. " +
			"A bucket with versions retains all of them, and the delete adds a delete marker. Only one atom may watch a prefix.",
		Sample:  "subscribe:\n  connection: store\n  bucket: orders\n  prefix: new/\n  archive: done/\n",
		NewWith: func() any { return &watch{} },
		With: append([]spec.Field{
			spec.String("bucket", func(w *watch) *string { return &w.Bucket }, "Bucket.").Eg("orders").Required(),
			spec.String("prefix", func(w *watch) *string { return &w.Prefix }, "Beginning of the keys. Keys that end with `/` are ignored.").Eg("new/"),
			spec.Duration("every", func(w *watch) *time.Duration { return &w.Every }, "How often to look for objects.").Or(time.Minute).Min(10 * time.Millisecond).Max(24 * time.Hour),
			spec.String("archive", func(w *watch) *string { return &w.Archive }, "Beginning of the keys of accepted objects. It replaces the prefix."),
			spec.Bool("delete", func(w *watch) *bool { return &w.Delete }, "Delete accepted objects instead of archiving them."),
		}, content.Fields(func(w *watch) *content.Format { return &w.Format })...),
		Check:     func(v any) []string { return v.(*watch).check() },
		Exclusive: func(any) bool { return true },
		Props:     "The process reads `key`, `name`, `size`, `modified` and `etag` of the object as `props`.",
	}
}

func (w *watch) check() []string {
	wrong := w.Format.Check()
	switch {
	case (w.Archive == "") != w.Delete:
		wrong = append(wrong, "set either `archive:` or `delete: true`, so that accepted objects leave the prefix")
	case w.Archive != "" && strings.HasPrefix(w.Prefix, w.Archive) && spec.Literal(w.Archive):
		wrong = append(wrong, "`archive:` must not be a beginning of `prefix:`, or archived objects would be ignored as new ones")
	}
	return wrong
}

// rememberFor is how long an accepted object may stay in place, such as after a
// loss of the permission to delete, without being accepted again.
const rememberFor = 7 * 24 * time.Hour

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, with any, host *connectors.Host) error {
	w := with.(*watch)
	if wrong := w.check(); len(wrong) > 0 {
		return connectors.Failf(CodeBadCall, false, nil, "%s", strings.Join(wrong, "; "))
	}
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		more, err := c.pass(ctx, w, host)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		host.Up()
		if more {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass receives the objects that are there. more reports whether there may be
// further ones.
func (c *connection) pass(ctx context.Context, w *watch, host *connectors.Host) (more bool, err error) {
	found, err := c.list(ctx, w.Bucket, w.Prefix, func(key string) bool {
		return !strings.HasSuffix(key, "/") && (w.Archive == "" || !strings.HasPrefix(key, w.Archive))
	})
	if err != nil {
		return false, err
	}
	for i, o := range found {
		host.Lag(int64(len(found) - i))
		if err := c.receive(ctx, w, o, host); err != nil || ctx.Err() != nil {
			return false, err
		}
	}
	host.Lag(0)
	return len(found) == maxListed, nil
}

// receive delivers an object and moves it out of the way. An object that was
// replaced or deleted in the meantime is left to the next pass.
func (c *connection) receive(ctx context.Context, w *watch, i minio.ObjectInfo, host *connectors.Host) error {
	o := object{w.Bucket, i.Key}
	m := &connectors.Message{Doc: document.Empty, Props: properties(i), Time: i.LastModified, Remember: rememberFor,
		Origin: o.Bucket + "/" + o.Key + " " + i.ETag + " " + i.LastModified.UTC().Format(time.RFC3339Nano)}
	ctx, release := blob.Begin(ctx)
	defer release()
	b, err := c.load(ctx, &w.Format, o, i.ETag)
	if err == nil {
		m.Doc, err = parse(ctx, &w.Format, b, o)
	}
	if f := fault.AsFailure(err); f != nil {
		switch f.Code {
		case CodeMissing:
			return nil
		case fault.CodeTooLarge:
			m.Invalid = f
		case fault.CodeAnswer:
			m.Doc, m.Invalid = document.New(b.Bytes, "", ""), f
		default:
			return f
		}
	}
	if err := host.Deliver(ctx, m); err != nil {
		return err
	}
	return c.retire(ctx, w, i)
}

// retire archives or deletes an accepted object, unless it was replaced.
func (c *connection) retire(ctx context.Context, w *watch, i minio.ObjectInfo) error {
	o := object{w.Bucket, i.Key}
	err := request(ctx, "archive or delete "+o.String(), func(ctx context.Context) error {
		now, err := c.store.StatObject(ctx, o.Bucket, o.Key, minio.StatObjectOptions{})
		if err != nil || now.ETag != i.ETag || !now.LastModified.Truncate(time.Second).Equal(i.LastModified.Truncate(time.Second)) {
			return err
		}
		if w.Archive != "" {
			to := minio.CopyDestOptions{Bucket: o.Bucket, Object: w.Archive + strings.TrimPrefix(o.Key, w.Prefix)}
			if _, err := c.store.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: o.Bucket, Object: o.Key, MatchETag: i.ETag, VersionID: now.VersionID}); replaced(err) {
				return nil
			} else if err != nil {
				return err
			}
		}
		return c.removeIf(ctx, o, i.ETag)
	})
	var f *fault.Failure
	if errors.As(err, &f) && f.Code == CodeMissing {
		return nil
	}
	return err
}
