// What a dashboard may be, by the types that Grafana publishes. tsconfig.VERSION.json says of which version.

import type {
  AnnotationQuery,
  Dashboard,
  FieldConfig,
  FieldConfigSource,
  Panel,
  RowPanel,
  VariableModel,
} from "@grafana/schema";
import type * as Heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as Stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as StateTimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as Table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as TimeSeries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
// Newer versions no longer publish the types of queries.
import type { PrometheusDataQuery } from "grafana-oldest/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen";

// As JSON has it: the text instead of the member of an enum.
type Plain<T> = T extends string
  ? `${T}`
  : T extends object
    ? { [K in keyof T]: Plain<T[K]> }
    : T;
// What is left out of options gets Grafana's defaults.
type Some<T> = T extends unknown[] ? T : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;

type Of<Type extends string, Options, Fields> = Omit<
  Panel,
  "type" | "title" | "gridPos" | "options" | "fieldConfig" | "targets"
> & {
  type: Type;
  title: string;
  gridPos: NonNullable<Panel["gridPos"]>;
  options: Some<Options>;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & {
    defaults: Omit<FieldConfig, "custom"> & { custom?: Some<Fields> };
  };
  targets: PrometheusDataQuery[];
};

type OurPanel =
  | Of<"timeseries", TimeSeries.Options, TimeSeries.FieldConfig>
  | Of<"stat", Stat.Options, never>
  | Of<"table", Table.Options, Table.FieldConfig>
  | Of<"heatmap", Heatmap.Options, Heatmap.FieldConfig>
  | Of<"state-timeline", StateTimeline.Options, StateTimeline.FieldConfig>
  | (RowPanel & { panels: [] });

// What the data source adds: https://grafana.com/docs/grafana/latest/datasources/prometheus/annotations/
type OurAnnotation = AnnotationQuery<PrometheusDataQuery> & {
  titleFormat: string;
  useValueForTime: boolean;
};

export type OurDashboard = Plain<
  Omit<Dashboard, "panels" | "annotations" | "templating"> & {
    panels: OurPanel[];
    annotations: { list: OurAnnotation[] };
    templating: { list: VariableModel[] };
  }
>;
