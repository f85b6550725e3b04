// A volume in three planes and in 3D, with label and graded overlays and a drawing (NiiVue).

import { Niivue, NVImage, SLICE_TYPE } from "@niivue/niivue";
import { useEffect, useRef, useState } from "preact/hooks";

import { COLORS } from "./pixels";

export interface Overlay {
  name: string;
  content: Blob;
  kind: "label" | "probability";
  classIndex: number; // its color; -1 where the values are classes, each with its color
  opacity: number;
  from?: number; // values below are not shown
}

// The mask that a drawing starts from: values of at least `from` are its class, or each value is a class.
export interface Start {
  content: Blob;
  from?: number;
}

export interface Handle {
  viewer: Niivue;
  drawing: () => Promise<Uint8Array | null>;
}

export function Volume(props: {
  file: File;
  overlays: Overlay[];
  pen?: number | null; // label to draw, 0 erases, null draws nothing
  start?: Start | null; // a drawing is open, and began as this; null closes it
  opacity?: number; // of the drawing
  slice?: number | null; // of the last axis, from the feet up
  label: string;
  onReady?: (handle: Handle) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const viewer = useRef<Niivue | null>(null);
  const [loaded, setLoaded] = useState(0);
  const [shown, setShown] = useState(0); // overlays that are drawn
  const [open, setOpen] = useState(0); // how many drawings were opened; 0 while there is none
  const [problem, setProblem] = useState("");

  useEffect(() => {
    let alive = true;
    const nv = new Niivue({
      backColor: [0.05, 0.07, 0.09, 1],
      isColorbar: false,
      crosshairWidth: 0.3,
      multiplanarShowRender: 1,
      dragAndDropEnabled: false,
      crosshairColor: [0.31, 0.77, 0.73, 0.7],
    });
    viewer.current = nv;
    (async () => {
      try {
        await nv.attachToCanvas(canvas.current!);
        nv.setSliceType(SLICE_TYPE.MULTIPLANAR);
        nv.addVolume(await NVImage.loadFromFile({ file: props.file, name: props.file.name }));
        if (!alive) return;
        props.onReady?.({ viewer: nv, drawing: () => saved(nv) });
        setLoaded((n) => n + 1);
      } catch (error) {
        setProblem(error instanceof Error ? error.message : String(error));
      }
    })();
    return () => {
      alive = false;
      viewer.current = null;
    };
  }, [props.file]);

  const names = props.overlays.map((one) => one.name).join("|");
  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded) return;
    (async () => {
      while (nv.volumes.length > 1) nv.removeVolume(nv.volumes[1]);
      for (const one of props.overlays) {
        const image = await NVImage.loadFromFile({
          file: new File([one.content], `${one.name}.nii.gz`),
          name: `${one.name}.nii.gz`,
          opacity: one.opacity,
        });
        if (one.kind === "label") {
          const own = [[0, 0, 0], ...(one.classIndex < 0 ? COLORS : [COLORS[one.classIndex % COLORS.length]])];
          image.setColormapLabel({
            R: own.map((c) => c[0]),
            G: own.map((c) => c[1]),
            B: own.map((c) => c[2]),
            A: own.map((_, k) => (k ? 255 : 0)),
            I: own.map((_, k) => k),
            labels: own.map((_, k) => String(k)),
          });
        } else {
          image.colormap = "warm";
          image.cal_min = one.from ?? 1;
          image.cal_max = 255;
        }
        nv.addVolume(image);
      }
      nv.updateGLVolume();
      setShown(props.overlays.length);
    })();
  }, [loaded, names]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded) return;
    props.overlays.forEach((one, k) => {
      if (!nv.volumes[k + 1]) return;
      nv.volumes[k + 1].opacity = one.opacity;
      if (one.kind === "probability" && one.from !== undefined) nv.volumes[k + 1].cal_min = one.from;
    });
    nv.updateGLVolume();
  }, [loaded, props.overlays]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded || props.start === undefined) return;
    if (!props.start) {
      if (nv.drawBitmap) nv.closeDrawing();
      setOpen(0);
      return;
    }
    const { content, from } = props.start;
    (async () => {
      const mask = await NVImage.loadFromFile({ file: new File([content], "mask.nii.gz"), name: "mask.nii.gz" });
      mask.img = Uint8Array.from(mask.img as Uint8Array, (value) => (from === undefined ? value : Number(value >= from)));
      const own: number[][] = [[0, 0, 0], ...COLORS];
      const colors = {
        R: own.map((c) => c[0]),
        G: own.map((c) => c[1]),
        B: own.map((c) => c[2]),
        A: own.map((_, k) => (k ? 255 : 0)),
        labels: own.map((_, k) => String(k)),
      };
      nv.setDrawColormap(colors as unknown as string); // it takes both, whatever its type says
      if (nv.loadDrawing(mask)) setOpen((n) => n + 1);
      else setProblem("the mask is on another grid");
    })();
  }, [loaded, props.start]);

  useEffect(() => {
    if (open) viewer.current?.setDrawOpacity(props.opacity ?? 0.55);
  }, [open, props.opacity]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !open || props.pen === undefined) return;
    nv.setDrawingEnabled(props.pen !== null);
    if (props.pen !== null) nv.setPenValue(props.pen, false);
  }, [open, props.pen]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded || props.slice === undefined || props.slice === null) return;
    const depth = nv.volumes[0].dimsRAS?.[3] ?? 1;
    nv.scene.crosshairPos = [nv.scene.crosshairPos[0], nv.scene.crosshairPos[1], (props.slice + 0.5) / depth];
    nv.drawScene();
  }, [loaded, props.slice]);

  return (
    <div>
      <div class="volume">
        <canvas ref={canvas} aria-label={props.label} role="img" data-loaded={loaded} data-overlays={shown} data-drawing={open} />
      </div>
      {problem && <p class="error">The volume cannot be shown: {problem}</p>}
    </div>
  );
}

async function saved(nv: Niivue): Promise<Uint8Array | null> {
  const content = await nv.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
  return content instanceof Uint8Array ? content : null;
}
