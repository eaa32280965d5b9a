import{i as e}from"./chunk-M2W7ZGCC.js";function r(){return{node:e("div",{class:"view"})}}export{r as create};
